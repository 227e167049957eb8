import { createHash } from "node:crypto";
import { open } from "node:fs/promises";
import { KubedosError } from "../../shared/error.ts";
import { forEachLimit } from "../assemble/parallel.ts";
import type { RunContext } from "../host/context.ts";
import { type Aws, awsError, shareSignal } from "../host/aws.ts";
import { delay } from "../host/clock.ts";
import { ebsBlockBytes, wholeBlock } from "../targets/ami.ts";
import { readWhole } from "../targets/chunks.ts";
import type { OpenedPlan } from "./plan.ts";
import { forgetUpload, readUpload, writeUpload } from "./progress-file.ts";

/** Requests at once; each holds one block in memory. */
const parallel = 32;
/** Blocks between two notes of what is done. */
const noteEvery = 64;
/** An unfinished snapshot is given up by AWS after this time without a block. */
const idleMinutes = 60;
const waitSeconds = 1_800;

export type Tags = Record<string, string>;

/**
 * Uploads the blocks of an image into a new snapshot and waits until it is complete. What an earlier, interrupted call
 * has uploaded is not sent again. Each block is checked by AWS against its checksum, and all of them together at the end.
 *
 * @param stateFile where it notes how far it is
 * @returns the snapshot's id
 * @throws KubedosError with AWS's code and message; the upload can be gone on with
 */
export async function uploadSnapshot(
  aws: Aws,
  { plan, artifact, raw }: OpenedPlan,
  tags: Tags,
  stateFile: string,
  context: RunContext,
): Promise<string> {
  const { client, api } = aws.ebs;
  const abort = { abortSignal: context.signal };
  shareSignal(context.signal);
  // 1. Go on with an earlier upload, or begin.
  const known = await readUpload(stateFile, { artifact, region: aws.region });
  const resumed = known !== undefined && (await isPending(aws, known.snapshotId, context)) ? known : undefined;
  const record =
    resumed ??
    ({ format: 1, snapshotId: await start(), artifact, region: aws.region, done: [] } satisfies Awaited<
      ReturnType<typeof readUpload>
    >);
  await writeUpload(stateFile, record);

  // 2. Blocks.
  const done = new Set(record.done);
  const todo = plan.blocks.filter(([index]) => !done.has(index));
  const stage = "upload";
  const total = plan.blocks.length * ebsBlockBytes;
  const progress = () =>
    context.emit({ type: "stage.progress", stage, done: done.size * ebsBlockBytes, total, unit: "bytes" });
  progress();
  let noted = Promise.resolve();
  const note = () => {
    const blocks = [...done].toSorted((a, b) => a - b);
    noted = noted.then(() => writeUpload(stateFile, { ...record, done: blocks }));
    return noted;
  };
  const source = await open(raw);
  try {
    await forEachLimit(todo, parallel, async ([index, checksum]) => {
      context.signal.throwIfAborted();
      const firstByte = index * ebsBlockBytes;
      const bytes = Buffer.alloc(Math.min(ebsBlockBytes, plan.raw.sizeBytes - firstByte));
      await readWhole(source, bytes, firstByte, raw);
      await putBlock(aws, record.snapshotId, index, wholeBlock(bytes), checksum, context.signal);
      done.add(index);
      if (done.size % noteEvery !== 0) return;
      progress();
      await note();
    });
  } finally {
    await source.close();
    await note();
  }
  progress();

  // 3. All of them together.
  await client
    .send(
      new api.CompleteSnapshotCommand({
        SnapshotId: record.snapshotId,
        ChangedBlocksCount: plan.blocks.length,
        Checksum: plan.checksum,
        ChecksumAlgorithm: "SHA256",
        ChecksumAggregationMethod: "LINEAR",
      }),
      abort,
    )
    .catch((cause: unknown) => {
      throw awsError(`complete ${record.snapshotId}`, cause);
    });
  await waitForSnapshot(aws, record.snapshotId, context);
  await forgetUpload(stateFile);
  return record.snapshotId;

  async function start(): Promise<string> {
    const answer = await client
      .send(
        new api.StartSnapshotCommand({
          VolumeSize: plan.volumeGiB,
          Description: `kubedos ${tags["kubedos:cluster"]} ${artifact}`,
          Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })),
          Timeout: idleMinutes,
        }),
        abort,
      )
      .catch((cause: unknown) => {
        throw awsError("start a snapshot", cause);
      });
    return answer.SnapshotId!;
  }
}

/** A snapshot of one volume that begins with these bytes, encrypted with the account's EBS key. */
export async function smallSnapshot(aws: Aws, content: Uint8Array, tags: Tags, context: RunContext): Promise<string> {
  const { client, api } = aws.ebs;
  const abort = { abortSignal: context.signal };
  try {
    const { SnapshotId } = await client.send(
      new api.StartSnapshotCommand({
        VolumeSize: 1,
        Encrypted: true,
        Tags: Object.entries(tags).map(([Key, Value]) => ({ Key, Value })),
        Timeout: idleMinutes,
      }),
      abort,
    );
    const id = SnapshotId!;
    const blocks = Math.ceil(content.length / ebsBlockBytes);
    for (let index = 0; index < blocks; index++) {
      const bytes = wholeBlock(content.subarray(index * ebsBlockBytes, (index + 1) * ebsBlockBytes));
      const checksum = createHash("sha256").update(bytes).digest("base64");
      await putBlock(aws, id, index, bytes, checksum, context.signal);
    }
    await client.send(new api.CompleteSnapshotCommand({ SnapshotId: id, ChangedBlocksCount: blocks }), abort);
    await waitForSnapshot(aws, id, context);
    return id;
  } catch (cause) {
    throw awsError("make the seed's snapshot", cause);
  }
}

/** Removes a snapshot; one that is gone already is fine. */
export async function deleteSnapshot(aws: Aws, snapshotId: string, signal?: AbortSignal): Promise<void> {
  const { client, api } = aws.ec2;
  await client
    .send(new api.DeleteSnapshotCommand({ SnapshotId: snapshotId }), { abortSignal: signal })
    .catch((cause: unknown) => {
      if ((cause as { name?: string }).name !== "InvalidSnapshot.NotFound") {
        throw awsError(`delete ${snapshotId}`, cause);
      }
    });
}

async function putBlock(
  aws: Aws,
  snapshotId: string,
  index: number,
  bytes: Uint8Array,
  checksum: string,
  signal: AbortSignal,
): Promise<void> {
  const { client, api } = aws.ebs;
  const answer = await client
    .send(
      new api.PutSnapshotBlockCommand({
        SnapshotId: snapshotId,
        BlockIndex: index,
        BlockData: bytes,
        DataLength: bytes.length,
        Checksum: checksum,
        ChecksumAlgorithm: "SHA256",
      }),
      { abortSignal: signal },
    )
    .catch((cause: unknown) => {
      signal.throwIfAborted();
      throw awsError(`upload block ${index} of ${snapshotId}`, cause);
    });
  if (answer.Checksum !== undefined && answer.Checksum !== checksum) {
    throw new KubedosError("failed", `AWS stored block ${index} of ${snapshotId} with checksum ${answer.Checksum}`, {
      hint: "run it again; if it stays so, something on the way alters what is sent",
    });
  }
}

async function isPending(aws: Aws, snapshotId: string, context: RunContext): Promise<boolean> {
  return (await snapshotState(aws, snapshotId, context.signal)) === "pending";
}

async function snapshotState(aws: Aws, snapshotId: string, signal: AbortSignal): Promise<string | undefined> {
  const { client, api } = aws.ec2;
  const answer = await client
    .send(new api.DescribeSnapshotsCommand({ SnapshotIds: [snapshotId] }), { abortSignal: signal })
    .catch((cause: unknown) => {
      if ((cause as { name?: string }).name === "InvalidSnapshot.NotFound") return undefined;
      throw awsError(`look at ${snapshotId}`, cause);
    });
  return answer?.Snapshots?.[0]?.State;
}

async function waitForSnapshot(aws: Aws, snapshotId: string, context: RunContext): Promise<void> {
  let pauseMs = 200;
  for (let waitedMs = 0; waitedMs < waitSeconds * 1000; waitedMs += pauseMs) {
    const state = await snapshotState(aws, snapshotId, context.signal);
    if (state === "completed") return;
    if (state === undefined || state === "error") {
      throw new KubedosError("failed", `AWS: ${snapshotId} is ${state ?? "gone"} instead of completed`, {
        hint: "run the command again: it begins a new one",
      });
    }
    await delay(pauseMs, context.signal);
    pauseMs = Math.min(pauseMs * 2, 10_000);
  }
  throw new KubedosError("failed", `AWS: ${snapshotId} was not completed within ${waitSeconds / 60} minutes`, {
    hint: "look at it in the console; the command can be run again",
  });
}
