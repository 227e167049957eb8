/** The node of each network card (lower case), from the list in a netboot artifact: lines of `NODE KIND VALUE`. */
export function networkCards(hardware: string): Map<string, string> {
  const cards = new Map<string, string>();
  for (const line of hardware.split("\n")) {
    const [node, kind, value] = line.split(" ");
    if (node !== undefined && kind === "mac" && value !== undefined) cards.set(value, node);
  }
  return cards;
}
