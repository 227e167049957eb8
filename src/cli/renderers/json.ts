import type { Terminal } from "../../host/terminal.ts";
import { errorResult } from "../output.ts";
import type { Renderer } from "./types.ts";

/** One JSON object a line on standard output: the events as they come, then one object of the type `result`. */
export function jsonRenderer(out: Terminal, now: () => number): Renderer {
  const time = () => new Date(now()).toISOString();
  const write = (value: object) => out.write(`${JSON.stringify(value)}\n`);
  return {
    emit: (event) => write({ at: time(), ...event }),
    notice: () => undefined,
    result: (verb, result) =>
      write({ type: "result", at: time(), verb, ok: (result.status ?? 0) === 0, ...result.data }),
    error: (verb, error) => write(errorResult(verb, time(), error)),
    close: () => undefined,
  };
}
