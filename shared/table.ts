/** Columns as wide as their widest cell, two spaces apart, no trailing space. */
export function formatTable(header: readonly string[], rows: readonly (readonly string[])[]): string {
  const all = header.length === 0 ? rows : [header, ...rows];
  const widths = Array.from({ length: Math.max(0, ...all.map((row) => row.length)) }, (_, column) =>
    Math.max(...all.map((row) => (row[column] ?? "").length)),
  );
  return all
    .map((row) =>
      widths
        .map((width, column) => (row[column] ?? "").padEnd(width))
        .join("  ")
        .trimEnd(),
    )
    .join("\n");
}
