/** CSV: its rows, one after another, so that a long file is read in slices; and rows as CSV. */

/** The rows of a text. A cell that begins with a quote ends at the next quote that is not doubled. */
export function* csvRows(text: string, delimiter: string): Generator<string[]> {
  const [separator, newline] = [delimiter.charCodeAt(0), 10];
  const lines = text.replace(/\r\n?/g, "\n");
  let [at, row]: [number, string[]] = [0, []];
  while (at < lines.length || row.length) {
    let quoted: string | undefined;
    if (lines[at] === '"') {
      const end = closingQuote(lines, at + 1);
      quoted = lines.slice(at + 1, end).replaceAll('""', '"');
      at = end + 1;
    }
    let end = at;
    while (end < lines.length && lines.charCodeAt(end) !== separator && lines.charCodeAt(end) !== newline) end++;
    row.push(quoted ?? lines.slice(at, end));
    at = end + 1;
    if (lines.charCodeAt(end) === separator) continue;
    yield row;
    row = [];
  }
}

function closingQuote(text: string, from: number): number {
  let end = text.indexOf('"', from);
  while (end >= 0 && text[end + 1] === '"') end = text.indexOf('"', end + 2);
  return end < 0 ? text.length : end;
}

/** The most frequent delimiter of the first line. */
export function delimiterOf(text: string): string {
  const [first = ""] = text.split("\n", 1);
  const count = (one: string) => first.split(one).length;
  return [",", ";", "\t"].reduce((best, one) => (count(one) > count(best) ? one : best));
}

export function toCsv(rows: string[][]): string {
  return rows.map((row) => row.map((cell) => (/[",\r\n]/.test(cell) ? `"${cell.replaceAll('"', '""')}"` : cell)).join(",")).join("\n");
}
