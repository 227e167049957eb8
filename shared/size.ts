const units: Record<string, number> = {
  "": 1,
  KB: 1e3,
  MB: 1e6,
  GB: 1e9,
  TB: 1e12,
  KIB: 2 ** 10,
  MIB: 2 ** 20,
  GIB: 2 ** 30,
  TIB: 2 ** 40,
};

/** Bytes of `650MB`, `4.7GB`, `16MiB`, or of a number alone; undefined for any other text. */
export function parseBytes(text: string): number | undefined {
  const [, number, unit] = /^(\d+(?:\.\d+)?)\s*([A-Za-z]*)$/.exec(text.trim()) ?? [];
  const factor = units[(unit ?? "?").toUpperCase()];
  return number === undefined || factor === undefined ? undefined : Math.floor(Number(number) * factor);
}
