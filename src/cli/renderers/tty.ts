import type { EventBody } from "../../../shared/events.ts";
import { paintWith } from "../format.ts";
import { formatError } from "../output.ts";
import { type Bar, barLines } from "./bars.ts";
import { eventLine } from "./lines.ts";
import type { PlainOptions } from "./plain.ts";
import type { Renderer } from "./types.ts";

const redrawMs = 100;

/** Live bars under the lines of the log, on standard error; nothing of the bars stays at the end. */
export function ttyRenderer({ out, err, verbosity, color, elapsedSeconds }: PlainOptions): Renderer {
  const paint = paintWith(color);
  const bars = new Map<string, Bar>();
  let shownLines = 0;
  let timer: NodeJS.Timeout | undefined;

  function erase(): string {
    const codes = shownLines === 0 ? "" : `\u001b[${shownLines}A\r\u001b[J`;
    shownLines = 0;
    return codes;
  }

  function draw(above = ""): void {
    const lines = barLines([...bars.values()], elapsedSeconds(), err.traits().columns, paint);
    const text = `${erase()}${above}${lines.map((line) => `${line}\n`).join("")}`;
    shownLines = lines.length;
    if (text !== "") err.write(text);
  }

  function keepDrawing(): void {
    if (bars.size > 0 && timer === undefined) {
      timer = setInterval(() => draw(), redrawMs);
      timer.unref();
    }
    if (bars.size === 0) {
      clearInterval(timer);
      timer = undefined;
    }
  }

  function track(event: EventBody): void {
    if (event.type === "stage.started") {
      bars.set(event.stage, { stage: event.stage, startedSeconds: elapsedSeconds() });
    } else if (event.type === "stage.progress") {
      const bar = bars.get(event.stage) ?? { stage: event.stage, startedSeconds: elapsedSeconds() };
      const { done, total, unit, note } = event;
      const first = bar.first ?? { done, seconds: elapsedSeconds() };
      bars.set(event.stage, { ...bar, first, progress: { done, total, unit, note } });
    } else if (event.type === "stage.done" || event.type === "stage.failed" || event.type === "stage.cached") {
      bars.delete(event.stage);
    }
  }

  const line = (text: string) => draw(`${text}\n`);
  function close(): void {
    bars.clear();
    keepDrawing();
    draw();
  }

  return {
    emit(event) {
      if (verbosity !== "quiet") track(event);
      const text = eventLine(event, verbosity, paint);
      if (text !== undefined) line(text);
      else if (event.type === "stage.started") draw();
      keepDrawing();
    },
    notice: line,
    result(_verb, result) {
      close();
      if (result.text !== undefined && result.text !== "") out.write(`${result.text}\n`);
    },
    error(_verb, error) {
      close();
      line(formatError(error, paint, verbosity === "verbose"));
    },
    close,
  };
}
