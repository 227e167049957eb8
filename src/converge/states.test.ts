import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { checkStates } from "./states.ts";

function check(files: Record<string, string>): string[] {
  const list = Object.entries(files).map(([path, text]) => ({
    path,
    content: Buffer.from(text),
    source: `salt/${path}`,
  }));
  return checkStates(list).map(({ message, at }) => `${at?.file}:${at?.line ?? ""} ${message}`);
}

test("good states pass: plain, with Jinja, of another renderer, and the platform's own", () => {
  expect(
    check({
      "states/top.sls": "base:\n  '*':\n    - web\n    - match: compound\n    - app.db\n  'core-*': [web]\n",
      "states/web.sls": "nginx:\n  pkg.installed: []\n  service.running:\n    - require: [{ pkg: nginx }]\n",
      "states/app/db/init.sls":
        "{% for x in [1, 2] %}\ndb{{ x }}:\n  {%- if x > 1 %}\n  test.nop: []\n  {%- else %}\n  test.succeed: []\n  {%- endif %}\n{% endfor %}\n",
      "states/match.sls": "x:\n  test.nop: []\n",
      "states/code.sls": "#!py\ndef run():\n    return {'a': {'b': []\n",
      "states/raw.sls": "{% raw %}{{ {% endraw %}\n{# a comment {% if %} #}\n",
      "states/empty.sls": "# nothing yet\n",
      "states/files/x.conf": "{{ not a state",
      "pillar/top.sls": "base:\n  '*': [secrets]\n",
      "pillar/secrets.sls": "a: 1\n",
    }),
  ).toEqual([]);
  const own = join(import.meta.dirname, "../../node/salt");
  const files = readdirSync(own, { recursive: true, encoding: "utf8" }).filter((path) => path.endsWith(".sls"));
  expect(files.length).toBeGreaterThan(3);
  expect(check(Object.fromEntries(files.map((path) => [path, readFileSync(join(own, path), "utf8")])))).toEqual([]);
});

test("what is wrong is named by file and line", () => {
  expect(
    check({
      "states/a.sls": "nginx:\n  pkg.installed: [\n",
      "states/b.sls": "- nginx\n",
      "states/c.sls": "ok: {}\n{% if x %}\na: {}\n",
      "states/d.sls": "{% for x in y %}\n{% if x %}\n{% endfor %}\n",
      "states/e.sls": "a: {{ x }\nb: 1\n",
      "states/f.sls": "a: {}\n{% endif %}\n",
      "states/g.sls": "a:\n  b: 1\n   c: 2\n",
      "states/top.sls": "base:\n  '*':\n    - missing\n    - a\n",
      "notes.txt": "here?",
    }),
  ).toEqual([
    "salt/notes.txt: salt/notes.txt is in neither states/ nor pillar/",
    expect.stringMatching(/^salt\/states\/a\.sls:\d states\/a\.sls: .*(Flow|flow)/),
    "salt/states/b.sls:1 states/b.sls is not a map",
    "salt/states/c.sls:2 `if` without `endif`",
    "salt/states/d.sls:3 `endfor`, but `if` of line 2 is open",
    "salt/states/e.sls:1 `{{` without `}}`",
    "salt/states/f.sls:2 `endif`, but nothing is open",
    expect.stringMatching(/^salt\/states\/g\.sls:\d /),
    "salt/states/top.sls: states/top.sls names `missing`, which is not there",
  ]);
});
