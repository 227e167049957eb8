import { EventEmitter } from "node:events";
import { expect, test } from "vitest";
import { askSecret, type SecretTerminal } from "./prompt.ts";

/** Stands for a terminal: what is typed goes in, what is shown and the raw mode come out. */
function fakeTerminal() {
  const events = new EventEmitter();
  const shown: string[] = [];
  const modes: boolean[] = [];
  const input = Object.assign(events, {
    resume: () => input,
    pause: () => input,
    setRawMode: (mode: boolean) => {
      modes.push(mode);
      return input;
    },
  });
  const output = { write: (text: string) => shown.push(text) > 0 };
  const terminal = { input, output } as unknown as SecretTerminal;
  return { terminal, type: (text: string) => events.emit("data", Buffer.from(text)), shown, modes, events };
}

test.each([
  ["secret\r", "secret"],
  ["secret\nmore", "secret"],
  ["secrex\u007ft\r", "secret"],
  ["wrong\u0015secret\r", "secret"],
  ["pässwörd 密\r", "pässwörd 密"],
  ["\r", ""],
])("typed %j", async (typed, expected) => {
  const fake = fakeTerminal();
  const answer = askSecret("Passphrase", undefined, fake.terminal);
  fake.type(typed);
  expect(await answer).toBe(expected);
  expect(fake.shown.join("")).toBe("Passphrase: \n");
  expect(fake.modes).toEqual([true, false]);
  expect(fake.events.listenerCount("data")).toBe(0);
});

test.each(["\u0003", "\u0004"])("%j ends it and gives the terminal back", async (key) => {
  const fake = fakeTerminal();
  const answer = askSecret("Passphrase", undefined, fake.terminal);
  fake.type(`secr${key}`);
  await expect(answer).rejects.toMatchObject({ code: "interrupted" });
  expect(fake.modes).toEqual([true, false]);
});

test("an abort ends it", async () => {
  const fake = fakeTerminal();
  const controller = new AbortController();
  const answer = askSecret("Passphrase", controller.signal, fake.terminal);
  controller.abort();
  await expect(answer).rejects.toMatchObject({ code: "interrupted" });
  expect(fake.modes).toEqual([true, false]);
});
