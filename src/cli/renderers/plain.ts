import type { EventBody } from "../../../shared/events.ts";
import type { Terminal } from "../../host/terminal.ts";
import { formatBytes, paintWith, printable } from "../format.ts";
import { formatError } from "../output.ts";
import { eventLine } from "./lines.ts";
import type { Renderer, Verbosity } from "./types.ts";

/** Quiet time before a running stage says how far it is. */
const progressEverySeconds = 10;

/** Where and how the plain renderer writes. */
export interface PlainOptions {
  out: Terminal;
  err: Terminal;
  verbosity: Verbosity;
  color: boolean;
  /** Seconds since the start of the run. */
  elapsedSeconds: () => number;
}

/** Whole lines, for logs and pipes: events and errors on standard error, the result on standard output. */
export function plainRenderer({ out, err, verbosity, color, elapsedSeconds }: PlainOptions): Renderer {
  const paint = paintWith(color);
  const lastShown = new Map<string, number>();
  const line = (text: string) => err.write(`${text}\n`);

  function progress(event: EventBody & { type: "stage.progress" }): void {
    const now = elapsedSeconds();
    const last = lastShown.get(event.stage);
    if (last === undefined) lastShown.set(event.stage, now);
    if (last === undefined || now - last < progressEverySeconds) return;
    lastShown.set(event.stage, now);
    line(`${paint.dim("...   ")} ${event.stage}  ${describeProgress(event)}`);
  }

  return {
    emit(event) {
      if (event.type === "stage.progress") return verbosity === "quiet" ? undefined : progress(event);
      const text = eventLine(event, verbosity, paint);
      if (text !== undefined) line(text);
    },
    notice: line,
    result(_verb, result) {
      if (result.text !== undefined && result.text !== "") out.write(`${result.text}\n`);
    },
    error: (_verb, error) => line(formatError(error, paint, verbosity === "verbose")),
    close: () => undefined,
  };
}

function describeProgress(event: EventBody & { type: "stage.progress" }): string {
  const amounts =
    event.unit === "bytes"
      ? `${formatBytes(event.done)} of ${formatBytes(event.total)}`
      : `${event.done}/${event.total}`;
  return event.note === undefined ? amounts : `${amounts}  ${printable(event.note)}`;
}
