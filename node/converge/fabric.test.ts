import { expect, test } from "vitest";
import { readAnswer } from "./fabric.ts";

const boot = "6c1f0c0e-9a4e-4a57-8a52-0d8f2a8b1c11";

test("a node says which boot it is and how much room it has", () => {
  expect(readAnswer(`${boot}\nAvail\n 1893\n`)).toEqual({ instance: boot });
});

test.each([
  ["full", `${boot}\nAvail\n    0\n`, "no room on its disk: 0 MiB free on /var, 8 MiB are needed"],
  ["without a boot", "", "it does not say which boot it is"],
  ["without df", `${boot}\n`, "the room on /var is unknown"],
])("a node is not converged when it is %s", (_what, stdout, reason) => {
  expect(readAnswer(stdout)).toMatchObject({ reason });
});
