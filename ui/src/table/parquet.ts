/** Reads a Parquet file. It is loaded when a person chooses one. */
import { parquetReadObjects, parquetSchema, parquetMetadataAsync } from "hyparquet";

export async function readParquet(file: File): Promise<{ head: string[]; rows: unknown[][] }> {
  const content = await file.arrayBuffer();
  const head = parquetSchema(await parquetMetadataAsync(content)).children.map(({ element }) => element.name);
  const objects = await parquetReadObjects({ file: content });
  return { head, rows: objects.map((row) => head.map((name) => row[name])) };
}
