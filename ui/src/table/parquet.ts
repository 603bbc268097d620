/** Reads a Parquet file. It is loaded when a person chooses one. */
import { parquetMetadataAsync, parquetReadObjects, parquetSchema } from "hyparquet";

export interface Cells {
  head: string[];
  /** The cells of each column. */
  columns: unknown[][];
}

/** Reads the columns one after another, so that the page reacts between them. */
export async function readParquet(file: File): Promise<Cells> {
  const content = await file.arrayBuffer();
  const metadata = await parquetMetadataAsync(content);
  const head = parquetSchema(metadata).children.map(({ element }) => element.name);
  const columns: unknown[][] = [];
  for (const name of head) {
    const cells = await parquetReadObjects({ file: content, metadata, columns: [name] });
    columns.push(cells.map((row) => row[name]));
    await new Promise((resolve) => setTimeout(resolve));
  }
  return { head, columns };
}
