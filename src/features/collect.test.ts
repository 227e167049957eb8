import fc from "fast-check";
import { expect, test } from "vitest";
import { assetsWithoutBundles } from "../../tests/fakes/assets.ts";
import { fakeSpec } from "../../tests/fakes/spec.ts";
import { KubedosError } from "../../shared/error.ts";
import { collectPlatform, outlinePlatform } from "./collect.ts";

const assets = assetsWithoutBundles();

function problemsOf(work: () => unknown): string[] {
  try {
    work();
  } catch (error) {
    if (error instanceof KubedosError) return error.problems.map((problem) => problem.message);
    throw error;
  }
  return [];
}

test("the platform does not depend on the order in which a spec lists things", () => {
  const usual = collectPlatform(fakeSpec({ packages: ["vim", "jq"] }), assets);
  const shuffled = fc.shuffledSubarray(fakeSpec().platform.features, {
    minLength: fakeSpec().platform.features.length,
  });
  fc.assert(
    fc.property(shuffled, (names) => {
      expect(collectPlatform(fakeSpec({ features: names, packages: ["jq", "vim", "jq"] }), assets)).toEqual(usual);
    }),
    { numRuns: 20 },
  );
  const { packages, files, enable, mask } = usual;
  for (const list of [packages, files.map((file) => file.path), enable, mask]) {
    expect(list).toEqual([...new Set(list)].toSorted());
  }
});

test("what a whole lab is made of", () => {
  const { packages, enable, openings, gates } = outlinePlatform(fakeSpec());
  expect(packages).toEqual(
    expect.arrayContaining(["linux-image-cloud-amd64", "nodejs", "systemd-sysv", "wireguard-tools"]),
  );
  expect(enable).toEqual(expect.arrayContaining(["kubedos-agent.service", "kubedos-firewall.service", "ssh.service"]));
  expect(gates).toEqual(["certificates", "fabric", "firewall", "sealed"]);
  expect(
    openings.map(
      (o) => `${o.service} ${o.plane} ${o.protocol}/${o.port} ${o.from?.join(",")} ${o.roles?.join(",") ?? "all"}`,
    ),
  ).toEqual([
    "ssh control tcp/22 hub,operators all",
    "agent control tcp/7443 hub,operators all",
    "ntp control udp/123 nodes hub",
    "ntp-witness control udp/123 hub all",
    "node-metrics observability tcp/9100 hub all",
  ]);
});

test("hubs serve a repository where the spec asks for one", () => {
  const services = (mode: "connected" | "darksite" | "both") =>
    outlinePlatform(fakeSpec({ repository: { mode, profile: "base" } })).openings.map(({ service }) => service);
  expect(services("connected")).not.toContain("repository");
  for (const mode of ["darksite", "both"] as const) expect(services(mode)).toContain("repository");
});

test("nothing but WireGuard is opened on the underlay", () => {
  expect(outlinePlatform(fakeSpec()).openings.filter((opening) => opening.plane === "underlay")).toEqual([]);
});

test("hardware gets the generic kernel", () => {
  const { packages } = outlinePlatform(fakeSpec({ kernel: "generic" }));
  expect(packages.filter((name) => name.startsWith("linux-image"))).toEqual(["linux-image-amd64"]);
});

test("two sources of one path are an error that names both", () => {
  const files = [{ path: "/etc/ssh/sshd_config", mode: 0o644, content: "" }];
  expect(problemsOf(() => collectPlatform(fakeSpec({ files }), assets))).toEqual([
    "/etc/ssh/sshd_config is written by feature ssh and by platform.files of the spec",
  ]);
});

test("a feature without what it needs is an error", () => {
  expect(problemsOf(() => outlinePlatform(fakeSpec({ features: ["base", "kernel", "planes", "ssh"] })))).toEqual([
    "feature ssh needs feature firewall",
  ]);
});

test("every unit that is enabled is in the image or comes from Debian, and says by what it is wanted", () => {
  const { files, enable } = collectPlatform(fakeSpec(), assets);
  const own = enable.filter((unit) => unit.startsWith("kubedos-"));
  expect(own.length).toBeGreaterThan(2);
  for (const unit of own) {
    const file = files.find((candidate) => candidate.path === `/usr/lib/systemd/system/${unit}`);
    expect(file?.content).toContain("[Install]\nWantedBy=");
  }
});

test("no file of the image is writable by others than root, and none is secret", () => {
  for (const { path, mode, content } of collectPlatform(fakeSpec(), assets).files) {
    expect({ path, mode: mode & 0o022 }).toEqual({ path, mode: 0 });
    expect(String(content)).not.toMatch(/PRIVATE KEY|PrivateKey=[^@]/);
  }
});
