import { expect, test } from "vitest";
import { checkPlaybooks } from "./playbooks.ts";

function problems(files: Record<string, string>): string[] {
  const list = Object.entries(files).map(([path, text]) => ({
    ...{ path, source: `/spec/ansible/${path}`, content: Buffer.from(text) },
  }));
  return checkPlaybooks(list).map(({ message, at, hint }) => `${at?.file}:${at?.line}:${at?.col} ${message} (${hint})`);
}

test("plain playbooks with roles, vaulted values and templates pass", () => {
  expect(
    problems({
      "site.yml":
        "---\n- name: All\n  hosts: role_core:&feature_ansible\n  become: true\n  roles: [web]\n- import_playbook: more.yml\n",
      "more.yml": "- hosts: all\n  tasks:\n    - ansible.builtin.debug: {msg: hi}\n",
      "roles/web/tasks/main.yml": "- ansible.builtin.debug: {msg: hi}\n",
      "roles/web/templates/a.yml": "{{ not: yaml: at all",
      "group_vars/all.yml": "secret: !vault |\n  $ANSIBLE_VAULT;1.1;AES256\n  6162\nraw: !unsafe '{{ x }}'\n",
    }),
  ).toEqual([]);
  expect(problems({})).toEqual([]);
});

test("a syntax error has its place", () => {
  const found = problems({ "site.yml": "- hosts: all\n  tasks:\n   - debug: {msg: hi\n" });
  expect(found[0]).toMatch(/^\/spec\/ansible\/site\.yml:\d+:\d+ Flow/);
  expect(problems({ "site.yml": "- hosts: all\n", "roles/a/tasks/main.yml": "a: [\n" })[0]).toContain(
    "/spec/ansible/roles/a/tasks/main.yml:",
  );
});

test("playbooks that nothing would run", () => {
  expect(problems({ "web.yml": "- hosts: all\n" })[0]).toContain("ansible/ has no site.yml");
});

test.each([
  ["hosts: all\n", "1:1", "a playbook is a list of plays"],
  ["- hello\n", "1:3", "a play is a map"],
  ["- name: x\n  tasks: []\n", "1:3", "a play without `hosts`"],
  ["- hosts: all\n  taskss: []\n", "2:3", "a play has no `taskss` (did you mean `tasks`?)"],
  ["- import_playbook: wep.yml\n", "1:20", "imports wep.yml, which is not there (did you mean web.yml?)"],
])("%j", (text, place, message) => {
  const [first] = problems({ "site.yml": text, "web.yml": "- hosts: all\n" });
  expect(first).toContain(`/spec/ansible/site.yml:${place} `);
  expect(first).toContain(message);
});
