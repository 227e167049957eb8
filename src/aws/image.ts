import { KubedosError } from "../../shared/error.ts";
import type { RunContext } from "../host/context.ts";
import { type Aws, awsError } from "../host/aws.ts";
import type { OpenedPlan } from "./plan.ts";
import { deleteSnapshot, type Tags, uploadSnapshot } from "./snapshot.ts";

/** Tags of everything that kubedos makes in an account: the ownership mark. */
export const tagNames = {
  cluster: "kubedos:cluster",
  clusterId: "kubedos:cluster-id",
  artifact: "kubedos:artifact",
  node: "kubedos:node",
} as const;

/** Whose images. */
export interface Owner {
  cluster: string;
  /** Of the cluster layer: 32 hex digits. */
  clusterId: string;
}

export interface Ami {
  imageId: string;
  name: string;
  artifact: string;
  cluster: string;
  snapshotIds: string[];
  state: string;
}

/**
 * Uploads and registers an image. The same artifact is the same AMI: where it is registered already, nothing is sent.
 *
 * @param stateFile where an upload notes how far it is
 */
export async function pushAmi(
  aws: Aws,
  opened: OpenedPlan,
  owner: Owner,
  stateFile: string,
  context: RunContext,
): Promise<{ ami: Ami; existed: boolean }> {
  const { plan, artifact } = opened;
  const found = (await listAmis(aws, owner, context)).find((ami) => ami.artifact === artifact);
  if (found !== undefined) return { ami: found, existed: true };

  const tags = { ...ownerTags(owner), [tagNames.artifact]: artifact };
  const snapshotId = await uploadSnapshot(aws, opened, tags, stateFile, context);
  const { client, api } = aws.ec2;
  const { register } = plan;
  const name = amiName(owner, artifact);
  try {
    const { ImageId } = await client.send(
      new api.RegisterImageCommand({
        Name: name,
        Description: `kubedos ${owner.cluster}, sealed platform ${artifact}`,
        Architecture: register.architecture,
        BootMode: register.bootMode,
        TpmSupport: register.tpmSupport,
        ImdsSupport: register.imdsSupport,
        EnaSupport: register.enaSupport,
        VirtualizationType: register.virtualizationType,
        RootDeviceName: register.rootDeviceName,
        UefiData: register.uefiData,
        BlockDeviceMappings: [
          {
            DeviceName: register.rootDeviceName,
            Ebs: { SnapshotId: snapshotId, VolumeType: "gp3", DeleteOnTermination: true },
          },
        ],
        TagSpecifications: [{ ResourceType: "image", Tags: tagList(tags) }],
      }),
      { abortSignal: context.signal },
    );
    // Older endpoints leave the tags of a registration out; without them the image could not be found again.
    await client.send(new api.CreateTagsCommand({ Resources: [ImageId!], Tags: tagList(tags) }), {
      abortSignal: context.signal,
    });
    return {
      ami: { imageId: ImageId!, name, artifact, cluster: owner.cluster, snapshotIds: [snapshotId], state: "available" },
      existed: false,
    };
  } catch (cause) {
    throw awsError(`register ${name} from ${snapshotId}`, cause);
  }
}

/** Images of this cluster in the region, by name. */
export async function listAmis(aws: Aws, owner: Owner, context: Pick<RunContext, "signal">): Promise<Ami[]> {
  const { client, api } = aws.ec2;
  const found: Ami[] = [];
  try {
    for await (const page of api.paginateDescribeImages(
      { client },
      { Owners: ["self"], Filters: [{ Name: `tag:${tagNames.clusterId}`, Values: [owner.clusterId] }] },
    )) {
      context.signal.throwIfAborted();
      for (const image of page.Images ?? []) {
        const tag = (name: string) => image.Tags?.find(({ Key }) => Key === name)?.Value ?? "";
        found.push({
          imageId: image.ImageId!,
          name: image.Name ?? "",
          artifact: tag(tagNames.artifact),
          cluster: tag(tagNames.cluster),
          snapshotIds: (image.BlockDeviceMappings ?? []).flatMap(({ Ebs }) => Ebs?.SnapshotId ?? []),
          state: image.State ?? "unknown",
        });
      }
    }
  } catch (cause) {
    context.signal.throwIfAborted();
    throw awsError("list images", cause);
  }
  return found.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

/**
 * Deregisters an image of this cluster and removes its snapshots.
 *
 * @throws KubedosError when the image is not this cluster's: nothing is touched that kubedos did not make for it
 */
export async function deregisterAmi(aws: Aws, owner: Owner, imageId: string, context: RunContext): Promise<Ami> {
  const own = await listAmis(aws, owner, context);
  const ami = own.find((one) => one.imageId === imageId);
  if (ami === undefined) {
    const known = own.map((one) => one.imageId).join(", ") || "none";
    throw new KubedosError("usage", `${imageId} is no image of the cluster ${owner.cluster} in ${aws.region}`, {
      hint: `images of this cluster: ${known}`,
    });
  }
  const { client, api } = aws.ec2;
  const tagged = await client.send(
    new api.DescribeSnapshotsCommand({
      OwnerIds: ["self"],
      Filters: [
        { Name: `tag:${tagNames.clusterId}`, Values: [owner.clusterId] },
        { Name: `tag:${tagNames.artifact}`, Values: [ami.artifact] },
      ],
    }),
    { abortSignal: context.signal },
  );
  const snapshots = (tagged.Snapshots ?? []).flatMap(({ SnapshotId }) => SnapshotId ?? []);
  await client
    .send(new api.DeregisterImageCommand({ ImageId: imageId }), { abortSignal: context.signal })
    .catch((cause: unknown) => {
      throw awsError(`deregister ${imageId}`, cause);
    });
  for (const id of snapshots) await deleteSnapshot(aws, id, context.signal);
  return { ...ami, snapshotIds: snapshots };
}

export function ownerTags(owner: Owner): Tags {
  return { [tagNames.cluster]: owner.cluster, [tagNames.clusterId]: owner.clusterId };
}

export function tagList(tags: Tags): { Key: string; Value: string }[] {
  return Object.entries(tags).map(([Key, Value]) => ({ Key, Value }));
}

/** Unique in an account and region, at most 128 characters. */
function amiName(owner: Owner, artifact: string): string {
  return `kubedos-${owner.cluster}-${owner.clusterId.slice(0, 8)}-${artifact.slice(0, 16)}`;
}
