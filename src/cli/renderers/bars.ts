import { formatBytes, formatSeconds, type Paint, printable, truncate } from "../format.ts";

/** A running stage as the terminal shows it. Times in seconds since the start of the run. */
export interface Bar {
  stage: string;
  startedSeconds: number;
  progress?: { done: number; total: number; unit: "bytes" | "items"; note?: string };
  /** Amount and time at the first progress, for the speed. */
  first?: { done: number; seconds: number };
}

const barWidth = 20;
/** More would not fit a low window, and what has scrolled away cannot be erased. */
const maxBars = 8;

/** One line a running stage, never wider than the terminal (a wrapped line could not be taken away again). */
export function barLines(bars: readonly Bar[], nowSeconds: number, columns: number, paint: Paint): string[] {
  const width = Math.max(1, columns - 1);
  const shown = bars.length > maxBars ? bars.slice(0, maxBars - 1) : bars;
  const nameWidth = Math.max(0, ...shown.map((bar) => bar.stage.length));
  const lines = shown.map((bar) => barLine(bar, nowSeconds, nameWidth, width, paint));
  if (shown.length < bars.length) lines.push(truncate(`and ${bars.length - shown.length} more`, width));
  return lines;
}

function barLine(bar: Bar, nowSeconds: number, nameWidth: number, columns: number, paint: Paint): string {
  const name = bar.stage.padEnd(nameWidth);
  const time = formatSeconds(nowSeconds - bar.startedSeconds);
  const { progress } = bar;
  if (progress === undefined) return truncate(`${name}  ${time}`, columns);
  const share = progress.total > 0 ? Math.min(1, Math.max(0, progress.done / progress.total)) : 0;
  const amounts =
    progress.unit === "bytes"
      ? `${formatBytes(progress.done)}/${formatBytes(progress.total)}${speed(bar, nowSeconds)}`
      : `${progress.done}/${progress.total}`;
  const note = progress.note === undefined ? "" : `  ${printable(progress.note)}`;
  const short = `${name}  ${String(Math.floor(share * 100)).padStart(3)} %  ${amounts}  ${time}${note}`;
  const wide = name.length + barWidth + amounts.length + time.length + 14;
  if (wide > columns) return truncate(short, columns);
  const filled = Math.round(share * barWidth);
  const track = `${paint.green("━".repeat(filled))}${paint.dim("━".repeat(barWidth - filled))}`;
  const head = `${name}  `;
  const tail = `  ${String(Math.floor(share * 100)).padStart(3)} %  ${amounts}  ${time}${note}`;
  return `${head}${track}${truncate(tail, columns - head.length - barWidth)}`;
}

function speed(bar: Bar, nowSeconds: number): string {
  if (bar.first === undefined || bar.progress === undefined) return "";
  const seconds = nowSeconds - bar.first.seconds;
  return seconds < 0.5 ? "" : `  ${formatBytes((bar.progress.done - bar.first.done) / seconds)}/s`;
}
