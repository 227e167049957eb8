import { expect, test } from "vitest";
import { fakeSpec } from "../../tests/fakes/spec.ts";
import type { Spec } from "../spec/types.ts";
import { layerRepository } from "./repository.ts";

function archives(platform: Partial<Spec["platform"]>, profile: "base" | "base+updates" | "full" = "base+updates") {
  return layerRepository(fakeSpec({ repository: { mode: "connected", profile }, ...platform }))?.archives;
}

test("the profile decides the suites", () => {
  expect(archives({}, "base")).toEqual([{ uri: "http://deb.debian.org/debian", suites: ["trixie"] }]);
  for (const profile of ["base+updates", "full"] as const) {
    expect(archives({}, profile)).toEqual([
      { uri: "http://deb.debian.org/debian", suites: ["trixie", "trixie-updates"] },
      { uri: "http://deb.debian.org/debian-security", suites: ["trixie-security"] },
    ]);
  }
});

test("nodes get the first mirror that they can reach without a secret", () => {
  const mirror = ["file:///mnt/debian", "http://user:secret@inner.example/debian", "http://mirror.example/debian"];
  expect(archives({ mirror })?.map(({ uri }) => uri)).toEqual([
    "http://mirror.example/debian",
    "http://mirror.example/debian-security",
  ]);
  expect(JSON.stringify(archives({ mirror }))).not.toContain("secret");
});

test("darksite names no other archive; without the feature there is nothing to name", () => {
  expect(layerRepository(fakeSpec({ repository: { mode: "darksite", profile: "base" } }))).toEqual({
    mode: "darksite",
    suite: "trixie",
    archives: [],
  });
  expect(layerRepository(fakeSpec({ features: ["base", "kernel"] }))).toBeUndefined();
});
