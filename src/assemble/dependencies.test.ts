import { expect, test } from "vitest";
import { missingDependencies, readRelations } from "./dependencies.ts";

test("choices, versions, architectures, folded lines and provided names", () => {
  const one = readRelations(`Package: python3
Depends: python3.13 (>= 3.13.5-1~), libpython3-stdlib (= 3.13.5-1),
 mailer | postfix:any
Pre-Depends: python3-minimal:any (= 3.13.5-1)
`);
  expect(one).toEqual({
    name: "python3",
    provides: [],
    needs: [["python3.13"], ["libpython3-stdlib"], ["mailer", "postfix"], ["python3-minimal"]],
  });
  const others = [
    readRelations("Package: python3.13\nProvides: mailer (= 1), python3-minimal\n"),
    readRelations("Package: libpython3-stdlib\nDepends: gone, python3 | absent\n"),
  ];
  expect(missingDependencies([one, ...others])).toEqual([{ names: ["gone"], by: "libpython3-stdlib" }]);
});
