import { expect, test } from "vitest";
import { kernelPayload } from "./bzimage.ts";

const setupSectors = 3;
const payloadAt = (setupSectors + 1) * 512 + 64;
const frame = Buffer.from([0x28, 0xb5, 0x2f, 0xfd, 1, 2, 3, 4, 5]);

/** A bzImage with a payload and the four bytes of its size that follow. */
function bzImage(payload: Buffer, length = payload.length + 4): Buffer {
  const image = Buffer.alloc(payloadAt + payload.length + 4);
  image[0x1f1] = setupSectors;
  image.write("HdrS", 0x202);
  image.writeUInt32LE(64, 0x248);
  image.writeUInt32LE(length, 0x24c);
  payload.copy(image, payloadAt);
  return image;
}

test("the payload is the zstd frame without the size after it", () => {
  expect(kernelPayload(bzImage(frame))).toEqual(frame);
});

test.each([
  ["no kernel", Buffer.alloc(4096), "is not a bzImage"],
  ["an empty file", Buffer.alloc(0), "is not a bzImage"],
  ["another compression", bzImage(Buffer.from("\x1f\x8b\x08 and so on")), "not compressed with zstd"],
  ["a kernel that is cut off", bzImage(frame, 10_000), "not compressed with zstd"],
])("%s is refused", (_what, image, message) => {
  expect(() => kernelPayload(image)).toThrow(message);
});
