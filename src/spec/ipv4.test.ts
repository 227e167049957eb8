import fc from "fast-check";
import { expect, test } from "vitest";
import { formatIpv4, isHostAddress, networkOf, parseIpv4, parseIpv4Network, prefixFor } from "./ipv4.ts";

const address = fc.integer({ min: 0, max: 2 ** 32 - 1 });

test("an address survives being written and read", () => {
  fc.assert(
    fc.property(address, (value) => {
      expect(parseIpv4(formatIpv4(value))).toBe(value);
    }),
  );
});

test.each(["", "1.2.3", "1.2.3.4.5", "256.0.0.1", "01.2.3.4", "1.2.3.4/24", " 1.2.3.4", "1.2.3.-4"])(
  "%j is no address",
  (text) => {
    expect(parseIpv4(text)).toBeUndefined();
  },
);

test.each(["10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/-1", "/24", "::/0"])("%j is no network", (text) => {
  expect(parseIpv4Network(text)).toBeUndefined();
});

test("the network of an address holds it, and prefixFor gives the smallest that has room", () => {
  fc.assert(
    fc.property(
      address,
      fc.integer({ min: 0, max: 32 }),
      fc.integer({ min: 1, max: 2 ** 24 }),
      (value, prefix, offset) => {
        const network = networkOf(value, prefix);
        expect(network.first <= value && value <= network.last).toBe(true);
        const fitting = networkOf(0, prefixFor(offset));
        expect(isHostAddress(fitting, offset)).toBe(true);
        expect(isHostAddress(networkOf(0, fitting.prefix + 1), offset)).toBe(false);
      },
    ),
  );
});
