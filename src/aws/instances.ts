import { createHash } from "node:crypto";
import { KubedosError } from "../../shared/error.ts";
import type { RunContext } from "../host/context.ts";
import { type Aws, awsError } from "../host/aws.ts";
import type { Spec, SpecNode } from "../spec/types.ts";
import { type Ami, type Owner, ownerTags, tagList, tagNames } from "./image.ts";
import { deleteSnapshot, smallSnapshot } from "./snapshot.ts";

/** Where instances are placed. */
export interface Placement {
  instanceType: string;
  subnetId: string;
  securityGroupIds: string[];
}

export interface Instance {
  node: string;
  instanceId: string;
  state: string;
  /** It was there already. */
  existed: boolean;
}

/**
 * What must hold before a node of this spec can run on EC2: the VPC's DHCP hands out the underlay address.
 *
 * @throws KubedosError
 */
export function requireEc2Spec(spec: Spec): void {
  if (spec.underlay.mode !== "dhcp") {
    throw new KubedosError("spec", "instances of EC2 get their address by DHCP, and `underlay.mode` is static", {
      hint: "write `underlay: { mode: dhcp, cidr: … }` with the network of the subnet, and build again",
    });
  }
}

/**
 * Runs one node. Its seed is the content of a second, encrypted volume: a block device that root alone can open and that
 * can be detached after the boot. User data would stay readable for every process of the node by way of the metadata
 * service, so it is not used, and the metadata service is off.
 *
 * Called again for a node that has an instance, it starts nothing.
 */
export async function runNode(
  aws: Aws,
  owner: Owner,
  node: SpecNode,
  ami: Ami,
  seed: () => Promise<Uint8Array>,
  placement: Placement,
  context: RunContext,
): Promise<Instance> {
  const tags = {
    ...ownerTags(owner),
    [tagNames.node]: node.name,
    [tagNames.artifact]: ami.artifact,
    Name: `${owner.cluster}-${node.name}`,
  };
  const running = await findInstance(aws, owner, node.name, context);
  if (running !== undefined) {
    if (running.artifact === ami.artifact) return { ...running, existed: true };
    throw new KubedosError("failed", `${node.name} is instance ${running.instanceId} of another artifact`, {
      hint: "terminate it first if its state may be lost; kubedos terminates no instance by itself",
    });
  }
  const { client, api } = aws.ec2;
  const seedBytes = await seed();
  const seedSnapshot = await smallSnapshot(aws, seedBytes, { ...tags, Name: `${tags.Name} seed` }, context);
  try {
    const answer = await client.send(
      new api.RunInstancesCommand({
        ImageId: ami.imageId,
        InstanceType: placement.instanceType as never,
        MinCount: 1,
        MaxCount: 1,
        ClientToken: createHash("sha256")
          .update(`${owner.clusterId} ${node.name} ${ami.artifact} ${seedSnapshot}`)
          .digest("hex"),
        MetadataOptions: { HttpEndpoint: "disabled", HttpTokens: "required" },
        NetworkInterfaces: [
          {
            DeviceIndex: 0,
            SubnetId: placement.subnetId,
            PrivateIpAddress: node.underlay,
            Groups: placement.securityGroupIds,
            DeleteOnTermination: true,
          },
        ],
        BlockDeviceMappings: [
          { DeviceName: "/dev/xvda", Ebs: { VolumeSize: node.diskGiB, VolumeType: "gp3", DeleteOnTermination: true } },
          {
            DeviceName: "/dev/sdf",
            Ebs: { SnapshotId: seedSnapshot, VolumeType: "gp3", Encrypted: true, DeleteOnTermination: true },
          },
        ],
        TagSpecifications: [
          { ResourceType: "instance", Tags: tagList(tags) },
          { ResourceType: "volume", Tags: tagList(tags) },
        ],
      }),
      { abortSignal: context.signal },
    );
    const [instance] = answer.Instances ?? [];
    return {
      node: node.name,
      instanceId: instance!.InstanceId!,
      state: instance!.State?.Name ?? "pending",
      existed: false,
    };
  } catch (cause) {
    throw awsError(`run ${node.name}`, cause);
  } finally {
    // The volume has its own copy; on failure the seed is of no use either. Not aborted: a secret is cleaned up.
    await deleteSnapshot(aws, seedSnapshot);
  }
}

async function findInstance(aws: Aws, owner: Owner, node: string, context: RunContext) {
  const { client, api } = aws.ec2;
  const answer = await client
    .send(
      new api.DescribeInstancesCommand({
        Filters: [
          { Name: `tag:${tagNames.clusterId}`, Values: [owner.clusterId] },
          { Name: `tag:${tagNames.node}`, Values: [node] },
          { Name: "instance-state-name", Values: ["pending", "running", "stopping", "stopped"] },
        ],
      }),
      { abortSignal: context.signal },
    )
    .catch((cause: unknown) => {
      throw awsError(`look for ${node}`, cause);
    });
  const instance = answer.Reservations?.flatMap((reservation) => reservation.Instances ?? [])[0];
  if (instance === undefined) return undefined;
  const artifact = instance.Tags?.find(({ Key }) => Key === tagNames.artifact)?.Value ?? "";
  return { node, instanceId: instance.InstanceId!, state: String(instance.State?.Name), artifact };
}
