import { expect, test } from "vitest";
import { fakeSpec } from "../../tests/fakes/spec.ts";
import { writerFiles } from "./iso.ts";

test("a medium fits before the keys of TPMs are known: it names other hardware only", () => {
  const spec = fakeSpec();
  const [first, ...others] = spec.nodes;
  const files = (hardware: { mac: string; tpm?: string }) =>
    writerFiles({ ...spec, nodes: [{ ...first!, hardware }, ...others] }, [], []);
  const mac = "52:54:00:77:00:02";
  expect(files({ mac })).toContainEqual({ path: "hardware", content: `${first!.name} mac ${mac}\n` });
  expect(files({ mac, tpm: "a key" })).toEqual(files({ mac }));
});
