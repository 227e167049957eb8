/**
 * Writes cpio archives in the "newc" format, as the kernel's initramfs takes them.
 * https://www.kernel.org/doc/html/latest/driver-api/early-userspace/buffer-format.html
 */

export interface CpioEntry {
  /** Path without a leading slash. */
  path: string;
  /** Permission bits, e.g. 0o644. */
  mode: number;
  content: Uint8Array;
}

const directoryType = 0o040000;
const fileType = 0o100000;

/**
 * Archive of regular files, owned by root, all of one time. With `directories`, also the directories above them (mode
 * 0755): the kernel needs them, while an archive unpacked over a tree must leave the tree's own as they are.
 */
export function writeCpio(
  entries: readonly CpioEntry[],
  epochSeconds: number,
  options: { directories: boolean },
): Buffer {
  const files = entries.toSorted((a, b) => (a.path < b.path ? -1 : 1));
  const parts: Buffer[] = [];
  const made = new Set<string>();
  let inode = 1;
  const add = (path: string, mode: number, content: Uint8Array) => {
    const name = Buffer.from(`${path}\0`);
    const fields = [
      inode++,
      mode,
      0,
      0,
      mode & directoryType ? 2 : 1,
      epochSeconds,
      content.length,
      0,
      0,
      0,
      0,
      name.length,
      0,
    ];
    const header = Buffer.from(`070701${fields.map((field) => field.toString(16).padStart(8, "0")).join("")}`);
    parts.push(pad4(Buffer.concat([header, name])), pad4(content));
  };
  for (const file of files) {
    const steps = file.path.split("/");
    for (let depth = options.directories ? 1 : steps.length; depth < steps.length; depth++) {
      const directory = steps.slice(0, depth).join("/");
      if (made.has(directory)) continue;
      made.add(directory);
      add(directory, directoryType | 0o755, new Uint8Array());
    }
    add(file.path, fileType | file.mode, file.content);
  }
  const name = Buffer.from("TRAILER!!!\0");
  const zero = "00000000";
  const trailer = `070701${zero.repeat(4)}00000001${zero.repeat(6)}${name.length.toString(16).padStart(8, "0")}${zero}`;
  parts.push(pad4(Buffer.concat([Buffer.from(trailer), name])));
  return Buffer.concat(parts);
}

function pad4(bytes: Uint8Array): Buffer {
  const rest = (4 - (bytes.length % 4)) % 4;
  return rest === 0 ? Buffer.from(bytes) : Buffer.concat([bytes, Buffer.alloc(rest)]);
}
