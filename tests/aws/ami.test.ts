import { createHash } from "node:crypto";
import { mkdtemp, open, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from "vitest";
import { deregisterAmi, listAmis, type Owner, pushAmi } from "../../src/aws/image.ts";
import { requireEc2Spec, runNode } from "../../src/aws/instances.ts";
import { openPlan, type OpenedPlan } from "../../src/aws/plan.ts";
import { type Aws, openAws } from "../../src/host/aws.ts";
import { ebsBlockBytes, planAmi } from "../../src/targets/ami.ts";
import { type FakeAws, startFakeAws } from "../fakes/aws.ts";
import { fakeSpec } from "../fakes/spec.ts";

let fake: FakeAws;
let directory: string;
let aws: Aws;
let opened: OpenedPlan;
let content: Buffer;
let state: string;
let owner: Owner;
const controller = new AbortController();
const context = { emit: () => undefined, signal: controller.signal, offline: false };

beforeAll(async () => {
  fake = await startFakeAws();
});
afterAll(() => fake?.close());
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), "kubedos-ami-"));
  state = join(directory, "state", "ami.json");
  vi.stubEnv("AWS_ACCESS_KEY_ID", "AKIATEST");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "secret");
  vi.stubEnv("AWS_CONFIG_FILE", join(directory, "none"));
  vi.stubEnv("AWS_EC2_METADATA_DISABLED", "true");
  vi.stubEnv("AWS_REGION", "eu-central-1");
  owner = { cluster: "lab", clusterId: createHash("md5").update(directory).digest("hex") };
  aws = await openAws({ endpointUrl: fake.endpoint });
  content = await writeImage(join(directory, "lab.raw"));
  await writeFile(
    join(directory, "lab.ami.json"),
    JSON.stringify(await planAmi(join(directory, "lab.raw"), "VUVGSQ==", controller.signal)),
  );
  opened = await openPlan(join(directory, "lab.ami.json"), () => "/nowhere", controller.signal);
  fake.sent.length = 0;
  fake.fault = () => undefined;
});
afterEach(async () => {
  vi.unstubAllEnvs();
  aws.close();
  await rm(directory, { recursive: true, force: true });
});

/** 200 blocks and a half; every third holds something. */
async function writeImage(file: string): Promise<Buffer> {
  const bytes = Buffer.alloc(200 * ebsBlockBytes + 4096);
  for (let index = 0; index <= 200; index += 3) {
    createHash("sha512")
      .update(`${index} ${file}`)
      .digest()
      .copy(bytes, index * ebsBlockBytes + 512);
  }
  bytes[bytes.length - 1] = 1;
  await writeFile(file, bytes);
  return bytes;
}

const puts = () => fake.sent.filter(({ method, path }) => method === "PUT" && path.includes("/blocks/"));
const queries = (action: string) =>
  fake.sent.map(({ query }) => query).filter((query) => query.get("Action") === action);

/** The snapshot as AWS holds it, up to the end of the image's last block; and how many blocks it has. */
async function download(snapshotId: string): Promise<{ bytes: Buffer; blocks: number }> {
  const { client, api } = aws.ebs;
  const bytes = Buffer.alloc(201 * ebsBlockBytes);
  const listed = await client.send(new api.ListSnapshotBlocksCommand({ SnapshotId: snapshotId, MaxResults: 10_000 }));
  for (const { BlockIndex, BlockToken } of listed.Blocks!) {
    const block = await client.send(
      new api.GetSnapshotBlockCommand({ SnapshotId: snapshotId, BlockIndex, BlockToken }),
    );
    bytes.set(await block.BlockData!.transformToByteArray(), BlockIndex! * ebsBlockBytes);
  }
  return { bytes, blocks: listed.Blocks!.length };
}

async function expectStored(snapshotId: string): Promise<void> {
  const { bytes, blocks } = await download(snapshotId);
  expect(blocks).toBe(68);
  expect(bytes.equals(Buffer.concat([content, Buffer.alloc(bytes.length - content.length)]))).toBe(true);
}

test("push: the snapshot is the image, only blocks that hold something are sent, and it is registered as sealed", async () => {
  const { ami, existed } = await pushAmi(aws, opened, owner, state, context);
  expect(existed).toBe(false);
  expect(puts().length).toBe(67 + 1);
  await expectStored(ami.snapshotIds[0]!);

  for (const { headers, body } of puts()) {
    expect(headers["x-amz-checksum"]).toBe(createHash("sha256").update(body).digest("base64"));
  }
  const complete = fake.sent.find(({ path }) => path.includes("/snapshots/completion/"))!;
  const checksums = puts()
    .toSorted((a, b) => blockIndex(a.path) - blockIndex(b.path))
    .map(({ headers }) => Buffer.from(String(headers["x-amz-checksum"]), "base64"));
  expect(complete.headers).toMatchObject({
    "x-amz-changedblockscount": "68",
    "x-amz-checksum-aggregation-method": "LINEAR",
    "x-amz-checksum": createHash("sha256").update(Buffer.concat(checksums)).digest("base64"),
  });

  const [register] = queries("RegisterImage");
  expect(Object.fromEntries(register!)).toMatchObject({
    Architecture: "x86_64",
    BootMode: "uefi",
    TpmSupport: "v2.0",
    ImdsSupport: "v2.0",
    EnaSupport: "true",
    UefiData: "VUVGSQ==",
    RootDeviceName: "/dev/xvda",
    "BlockDeviceMapping.1.Ebs.SnapshotId": ami.snapshotIds[0],
    "TagSpecification.1.ResourceType": "image",
  });
  expect(await listAmis(aws, owner, context)).toMatchObject([{ imageId: ami.imageId, artifact: opened.artifact }]);
});

function blockIndex(path: string): number {
  return Number(/\/blocks\/(\d+)/.exec(path)![1]);
}

test("the same artifact is the same AMI; another cluster does not see it", async () => {
  const first = await pushAmi(aws, opened, owner, state, context);
  fake.sent.length = 0;
  const second = await pushAmi(aws, opened, owner, state, context);
  expect(second).toMatchObject({ existed: true, ami: { imageId: first.ami.imageId } });
  expect(puts()).toEqual([]);
  expect(await listAmis(aws, { ...owner, clusterId: "f".repeat(32) }, context)).toEqual([]);
});

test("throttling and cut connections: each block arrives in the end", async () => {
  let faults = 0;
  fake.fault = ({ method, path }) => {
    if (method !== "PUT" || blockIndex(path) % 9 !== 0 || faults >= 12) return undefined;
    return faults++ % 2 === 0 ? { status: 400, type: "RequestThrottledException" } : "cut";
  };
  const { ami } = await pushAmi(aws, opened, owner, state, context);
  expect(faults).toBe(12);
  await expectStored(ami.snapshotIds[0]!);
});

test("a dead upload is gone on with: only what is missing is sent, into the same snapshot", async () => {
  const dead = new AbortController();
  fake.fault = () => {
    if (puts().length > 40) dead.abort(new Error("killed"));
    return undefined;
  };
  await expect(pushAmi(aws, opened, owner, state, { ...context, signal: dead.signal })).rejects.toThrow("killed");
  const record = JSON.parse(await readFile(state, "utf8")) as { snapshotId: string; done: number[] };
  expect(record.done.length).toBeGreaterThan(0);

  fake.fault = () => undefined;
  fake.sent.length = 0;
  const { ami } = await pushAmi(aws, opened, owner, state, context);
  expect(ami.snapshotIds).toEqual([record.snapshotId]);
  const sent = new Set(puts().map(({ path }) => blockIndex(path)));
  expect(record.done.filter((index) => sent.has(index))).toEqual([]);
  expect(sent.size + record.done.length).toBe(68);
  await expectStored(record.snapshotId);
  await expect(readFile(state)).rejects.toThrow("ENOENT");
});

test("a refusal names what was asked, AWS's code and what to do", async () => {
  fake.fault = ({ method }) => (method === "PUT" ? { status: 403, type: "AccessDeniedException" } : undefined);
  await expect(pushAmi(aws, opened, owner, state, context)).rejects.toMatchObject({
    message: expect.stringMatching(/upload block \d+ of snap-\w+: AccessDeniedException/),
    hint: expect.stringContaining("ebs:PutSnapshotBlock"),
  });
});

test("an image that is not the plan's, or a plan that is none, is refused before anything is sent", async () => {
  const handle = await open(join(directory, "lab.raw"), "r+");
  await handle.write(Buffer.from([7]), 0, 1, 900);
  await handle.close();
  const plan = join(directory, "lab.ami.json");
  await expect(openPlan(plan, () => "/nowhere", controller.signal)).rejects.toThrow("is not there");
  await writeFile(plan, '{"format":2}');
  await expect(openPlan(plan, () => "/nowhere", controller.signal)).rejects.toThrow("has format 2");
  await writeFile(plan, "{}");
  await expect(openPlan(plan, () => "/nowhere", controller.signal)).rejects.toThrow("lab.ami.json: ");
  await expect(openPlan(join(directory, "no.ami.json"), () => "", controller.signal)).rejects.toThrow("cannot read");
  expect(fake.sent).toEqual([]);
});

test("deregister: the image and its snapshot go; an image that is not ours stays", async () => {
  const { ami } = await pushAmi(aws, opened, owner, state, context);
  const { client, api } = aws.ec2;
  const foreign = await client.send(new api.RegisterImageCommand({ Name: `foreign-${owner.clusterId}` }));
  await expect(deregisterAmi(aws, owner, foreign.ImageId!, context)).rejects.toThrow("is no image of the cluster lab");
  expect(await deregisterAmi(aws, owner, ami.imageId, context)).toMatchObject({ snapshotIds: ami.snapshotIds });
  expect(await listAmis(aws, owner, context)).toEqual([]);
  const left = await client.send(new api.DescribeSnapshotsCommand({ OwnerIds: ["self"] }));
  expect(left.Snapshots!.map(({ SnapshotId }) => SnapshotId)).not.toContain(ami.snapshotIds[0]);
  expect((await client.send(new api.DescribeImagesCommand({ ImageIds: [foreign.ImageId!] }))).Images).toHaveLength(1);
});

test("run: the seed is a volume, never user data; no metadata service; a second run starts nothing", async () => {
  const spec = fakeSpec();
  expect(() => requireEc2Spec(spec)).toThrow("`underlay.mode` is static");
  requireEc2Spec({ ...spec, underlay: { ...spec.underlay, mode: "dhcp" } });
  const { client, api } = aws.ec2;
  const vpc = await client.send(new api.CreateVpcCommand({ CidrBlock: spec.underlay.cidr }));
  const VpcId = vpc.Vpc!.VpcId!;
  const subnet = await client.send(new api.CreateSubnetCommand({ VpcId, CidrBlock: spec.underlay.cidr }));
  const group = await client.send(new api.CreateSecurityGroupCommand({ GroupName: "g", Description: "g", VpcId }));
  const placement = {
    instanceType: "t3.small",
    subnetId: subnet.Subnet!.SubnetId!,
    securityGroupIds: [group.GroupId!],
  };
  const { ami } = await pushAmi(aws, opened, owner, state, context);
  const secret = Buffer.from(`KUBEDOS-SEED ${"s".repeat(600_000)}`);
  const [node] = spec.nodes;
  fake.sent.length = 0;
  const first = await runNode(aws, owner, node!, ami, async () => secret, placement, context);
  expect(first).toMatchObject({ node: node!.name, existed: false });

  const [run] = queries("RunInstances");
  expect(Object.fromEntries(run!)).toMatchObject({
    ImageId: ami.imageId,
    "MetadataOptions.HttpEndpoint": "disabled",
    "NetworkInterface.1.PrivateIpAddress": node!.underlay,
    "BlockDeviceMapping.2.DeviceName": "/dev/sdf",
    "BlockDeviceMapping.2.Ebs.Encrypted": "true",
    "BlockDeviceMapping.2.Ebs.DeleteOnTermination": "true",
  });
  expect(run!.has("UserData")).toBe(false);
  expect(puts()).toHaveLength(2);
  expect(
    Buffer.concat(puts().map(({ body }) => body))
      .subarray(0, secret.length)
      .equals(secret),
  ).toBe(true);
  const start = fake.sent.find(({ method, path }) => method === "POST" && path === "/snapshots")!;
  expect(JSON.parse(start.body.toString())).toMatchObject({ Encrypted: true });
  // The volume has its own copy: the snapshot of the secret is gone.
  expect(queries("DeleteSnapshot").map((query) => query.get("SnapshotId"))).toEqual([
    run!.get("BlockDeviceMapping.2.Ebs.SnapshotId"),
  ]);

  fake.sent.length = 0;
  const again = await runNode(aws, owner, node!, ami, () => Promise.reject(new Error("no seed")), placement, context);
  expect(again).toMatchObject({ instanceId: first.instanceId, existed: true });
  const other = { ...ami, artifact: "0".repeat(64) };
  await expect(runNode(aws, owner, node!, other, async () => secret, placement, context)).rejects.toThrow(
    "of another artifact",
  );
  expect(queries("RunInstances")).toEqual([]);
});

test("without a region it says where one can be written", async () => {
  vi.stubEnv("AWS_REGION", "");
  vi.stubEnv("AWS_DEFAULT_REGION", "");
  await expect(openAws({})).rejects.toMatchObject({ message: "no AWS region is known" });
});
