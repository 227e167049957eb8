import { createHash } from "node:crypto";
import {
  closeSync,
  existsSync,
  fstatSync,
  fsyncSync,
  ftruncateSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  utimesSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { join } from "node:path";
import { type AuditEntry, auditStart, readAudit } from "../../shared/enroll.ts";
import { KubedosError } from "../../shared/error.ts";
import { emptyState, type EnrollState, type Step } from "./state.ts";

/** What a hub keeps on its state partition: `state.json`, `audit.jsonl`, and `keys/` with what is accepted. */
export interface EnrollStore {
  state(): EnrollState;
  /** Lines of the audit log, and what is wrong with its chain since before this start. */
  audit(): { lines: number; broken?: string };
  /**
   * Writes a step down: first what the audit log is told, then the state, then the accepted keys. Whoever is told of the
   * step can rely on it.
   *
   * @throws when the disk does not take it; then nothing has been decided
   */
  take<T>(step: Step<T>): T;
}

const auditMode = 0o600;

/** @param onLine is shown every line of the audit log that is written, for the journal */
export function openEnrollStore(directory: string, clock: () => number, onLine: (line: string) => void): EnrollStore {
  const files = {
    state: join(directory, "state.json"),
    audit: join(directory, "audit.jsonl"),
    keys: join(directory, "keys"),
  };
  mkdirSync(files.keys, { recursive: true, mode: 0o755 });
  let state = readState(files.state);
  const cutOff = removeCutOffLine(files.audit);
  const log = readAudit(existsSync(files.audit) ? readFileSync(files.audit, "utf8") : "", sha256);
  let previous = log.hashes.at(-1) ?? auditStart;
  let lines = log.lines.length;

  function append(entries: readonly AuditEntry[]): void {
    if (entries.length === 0) return;
    let [text, last, seq] = ["", previous, lines];
    for (const entry of entries) {
      const line = JSON.stringify({ seq: ++seq, at: new Date(clock()).toISOString(), previous: last, ...entry });
      text += `${line}\n`;
      last = sha256(line);
    }
    appendWhole(files.audit, text);
    [previous, lines] = [last, seq];
    for (const line of text.trimEnd().split("\n")) onLine(line);
  }

  writeKeys(files.keys, state);
  if (cutOff > 0) append([{ event: "recovered", by: "hub", reason: `${cutOff} bytes of a line that was cut off` }]);
  return {
    state: () => state,
    audit: () => ({ lines, ...(log.broken !== undefined && { broken: log.broken }) }),
    take(step) {
      if (log.broken !== undefined && step.audit.length > 0) {
        throw new KubedosError("failed", `the audit log is not whole: ${log.broken}`, {
          hint: `look into ${files.audit} on the hub; move it away and restart kubedos-enroll to begin a new one`,
        });
      }
      append(step.audit);
      if (step.state !== state) {
        writeWhole(files.state, `${JSON.stringify(step.state, undefined, 1)}\n`, 0o600);
        const keysChanged = step.state.accepted !== state.accepted;
        state = step.state;
        if (keysChanged) writeKeys(files.keys, state);
      }
      return step.result;
    },
  };
}

/** Tells who watches the directory to look again: what changed while it was looking is not missed. */
export function touchKeys(directory: string, now: number): void {
  utimesSync(join(directory, "keys"), now / 1000, now / 1000);
}

export function sha256(text: string): string {
  return createHash("sha256").update(text).digest("hex");
}

/** @throws KubedosError when it is there and is not ours: a hub must not forget what it has accepted */
function readState(file: string): EnrollState {
  if (!existsSync(file)) return emptyState();
  try {
    const value = JSON.parse(readFileSync(file, "utf8")) as Partial<EnrollState>;
    if (value.format === 1) return { ...emptyState(), ...value };
  } catch {
    // said below
  }
  throw new KubedosError("failed", `${file} is damaged`, { hint: "remove it; the nodes then need new tokens" });
}

/** A line without its end was being written when the hub died: nobody has been told of it. */
function removeCutOffLine(file: string): number {
  if (!existsSync(file)) return 0;
  const bytes = readFileSync(file);
  const whole = bytes.lastIndexOf(0x0a) + 1;
  if (whole === bytes.length) return 0;
  const handle = openSync(file, "r+");
  ftruncateSync(handle, whole);
  closeSync(handle);
  return bytes.length - whole;
}

/** What cannot be written whole leaves nothing. */
function appendWhole(file: string, text: string): void {
  const handle = openSync(file, "a", auditMode);
  try {
    const bytes = Buffer.from(text);
    const before = fstatSync(handle).size;
    try {
      if (writeSync(handle, bytes) !== bytes.length) throw new Error("no space left for the audit log");
      fsyncSync(handle);
    } catch (error) {
      ftruncateSync(handle, before);
      throw error;
    }
  } finally {
    closeSync(handle);
  }
}

function writeWhole(file: string, text: string, mode: number): void {
  writeFileSync(`${file}.new`, text, { mode, flush: true });
  renameSync(`${file}.new`, file);
}

/** One file an accepted node; those of others go. */
function writeKeys(directory: string, { accepted }: EnrollState): void {
  for (const name of readdirSync(directory)) {
    if (!Object.hasOwn(accepted, name)) rmSync(join(directory, name), { force: true });
  }
  for (const [name, { publicKey }] of Object.entries(accepted)) {
    const file = join(directory, name);
    const text = publicKey.trim(); // as Salt writes them: `salt-key -F` hashes the file
    if (!existsSync(file) || readFileSync(file, "utf8") !== text) writeWhole(file, text, 0o644);
  }
}
