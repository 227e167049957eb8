import { expect, test } from "vitest";
import { hostProbe, type HostProbe } from "../../host/probe.ts";
import { requireInotify } from "./inotify.ts";

function host(limit: string, kernelWireguard: boolean): HostProbe {
  return {
    ...hostProbe(),
    text: () => Promise.resolve(limit),
    readable: () => Promise.resolve(kernelWireguard),
    succeeds: () => Promise.resolve(false),
  };
}

test("more containers than the host's limit allows are refused before anything starts, with the value to set", async () => {
  await expect(requireInotify(host("500\n", false), 100, 3)).rejects.toThrow("the host allows 500 inotify instances");
  await expect(requireInotify(host("500\n", false), 100, 3)).rejects.toMatchObject({
    hint: expect.stringMatching(/max_user_instances=2048$/),
  });
});

test("WireGuard in the kernel takes none; nothing to start asks for none", async () => {
  await requireInotify(host("1000000", false), 100, 3);
  await requireInotify(host("1", false), 0, 3);
  await expect(requireInotify(host("900", true), 1, 1000)).resolves.toBeUndefined();
  await expect(requireInotify(host("900", false), 1, 1000)).rejects.toThrow("1 containers");
});
