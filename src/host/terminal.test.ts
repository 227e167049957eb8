import { expect, test } from "vitest";
import { wantsColor } from "./terminal.ts";

test.each([
  [true, {}, true],
  [false, {}, false],
  [true, { NO_COLOR: "1" }, false],
  [true, { NO_COLOR: "" }, true],
  [true, { TERM: "dumb" }, false],
  [false, { FORCE_COLOR: "1" }, true],
  [true, { FORCE_COLOR: "0" }, true],
  [true, { FORCE_COLOR: "1", NO_COLOR: "1" }, false],
])("terminal %s with %o: colour %s", (tty, environment, color) => {
  expect(wantsColor(tty, environment)).toBe(color);
});
