import { execFileSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, test } from "vitest";
import { stageNames } from "../../shared/convergence.ts";
import { ansibleFiles } from "../../shared/render/inventory.ts";
import { exampleLayer } from "../../shared/render/testing.ts";

const here = import.meta.dirname;

test("each playbook is a stage's, and site.yml runs all of them in the graph's order", () => {
  const stages = readdirSync(join(here, "playbooks")).map((file) => file.replace(/\.yml$/, ""));
  const inOrder = stageNames.filter((name) => stages.includes(name));
  expect(inOrder.toSorted()).toEqual(stages.toSorted());
  const site = readFileSync(join(here, "site.yml"), "utf8");
  const imported = [...site.matchAll(/import_playbook: playbooks\/(\w+)\.yml/g)].map(([, name]) => name);
  expect(imported).toEqual(inOrder);
});

test.each(readdirSync(join(here, "roles")))("role %s says what it takes, gives, does again and destroys", (role) => {
  const readme = readFileSync(join(here, "roles", role, "README.md"), "utf8");
  for (const row of ["inputs", "outputs", "run again", "destroys"])
    expect(readme).toMatch(new RegExp(`^\\| ${row} \\| .`, "m"));
  for (const file of ["meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml"]) {
    expect(existsSync(join(here, "roles", role, file)), `${role}/${file}`).toBe(true);
  }
});

test("the inventory of a cluster: roles, features, addresses, host keys", () => {
  const layer = { ...exampleLayer({ nodes: 3 }), features: ["ansible", "node-metrics"] };
  const [inventory, groupVars, knownHosts] = ansibleFiles(layer).map(({ content }) => content);
  expect(JSON.parse(inventory!)).toMatchObject({
    all: {
      hosts: {
        "worker-1": {
          ansible_host: "10.101.0.2",
          index: 2,
          node_roles: ["worker"],
          plane_control: "10.101.0.2",
          plane_backend: "10.103.0.2",
          planes: { wg2: "10.102.0.2" },
        },
      },
      children: {
        role_hub: { hosts: { "hub-1": {} } },
        role_worker: { hosts: { "worker-1": {}, "worker-2": {} } },
        feature_node_metrics: { hosts: { "hub-1": {}, "worker-1": {}, "worker-2": {} } },
      },
    },
  });
  expect(JSON.parse(groupVars!)).toMatchObject({ cluster_hub: "hub-1", cluster_hub_address: "10.101.0.1" });
  expect(knownHosts!.split("\n")[1]).toMatch(/^10\.101\.0\.2,worker-1 ssh-ed25519 \S+$/);
});

test("the callback plugin writes nothing where the engine did not ask for it, and hides what no_log hides", () => {
  const directory = mkdtempSync(join(tmpdir(), "kubedos-callback-"));
  try {
    const text = readFileSync(join(here, "callback_plugins/kubedos.py"), "utf8");
    // The base class is Ansible's; here it is one that does nothing.
    const plain = text.replace("from ansible.plugins.callback import CallbackBase", "CallbackBase = object");
    writeFileSync(join(directory, "plugin.py"), plain.replace("super().__init__()", "pass"));
    const script = [
      "import types, os, plugin",
      "silent = plugin.CallbackModule()",
      "print(silent.disabled)",
      `os.environ["KUBEDOS_ANSIBLE_EVENTS"] = "${directory}/events"`,
      "loud = plugin.CallbackModule()",
      "task = lambda no_log: types.SimpleNamespace(no_log=no_log, get_name=lambda: 't', get_path=lambda: 'p:1')",
      "host = types.SimpleNamespace(get_name=lambda: 'hub')",
      "result = lambda no_log: types.SimpleNamespace(_task=task(no_log), _host=host, _result={'msg': 'secret'})",
      "loud.v2_runner_on_failed(result(True))",
      "loud.v2_runner_on_failed(result(False))",
    ];
    const out = execFileSync("python3", ["-c", script.join("\n")], { cwd: directory, encoding: "utf8" });
    expect(out).toBe("True\n");
    const lines = readFileSync(join(directory, "events"), "utf8").trim().split("\n");
    const messages = lines.map((line) => (JSON.parse(line) as { message: string }).message);
    expect(messages).toEqual(["hidden: the task has no_log", "secret"]);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
