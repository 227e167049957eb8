import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, expect, test, vi } from "vitest";
import { parseIni, pipConfigOf, readPipConfig } from "./pip-config.ts";

afterEach(() => vi.unstubAllEnvs());

test("a configuration file: sections, lists over several lines, comments; [install] is the more particular", () => {
  const text = `
# comment
[global]
index-url = https://index.example.org/simple
find-links =
    /srv/wheels
    https://links.example.org/
timeout: 60
[list]
format = columns
[install]
extra_index_url = https://more.example.org/simple
`;
  const values = parseIni(text);
  expect(pipConfigOf(values)).toEqual({
    indexes: ["https://index.example.org/simple", "https://more.example.org/simple"],
    findLinks: ["/srv/wheels", "https://links.example.org/"],
    trustedHosts: [],
  });
});

test("PIP_ variables come before files; without an index only links are looked at", async () => {
  const directory = await mkdtemp(join(tmpdir(), "pip-"));
  try {
    const file = join(directory, "pip.conf");
    await writeFile(file, "[global]\nindex-url = https://file.example.org/simple\ncert = /srv/ca.pem\n");
    vi.stubEnv("PIP_CONFIG_FILE", file);
    vi.stubEnv("PIP_INDEX_URL", "https://variable.example.org/simple");
    vi.stubEnv("PIP_CERT", "");
    vi.stubEnv("PIP_FIND_LINKS", `${directory} file://${directory}/more`);
    const config = await readPipConfig();
    expect(config).toMatchObject({
      indexes: ["https://variable.example.org/simple"],
      caFile: "/srv/ca.pem",
      findLinks: [directory, `${directory}/more`],
    });
    vi.stubEnv("PIP_NO_INDEX", "1");
    expect((await readPipConfig()).indexes).toEqual([]);
  } finally {
    await rm(directory, { recursive: true });
  }
});
