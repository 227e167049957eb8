import type { CommandUnknownOpts } from "@commander-js/extra-typings";
import { KubedosError } from "../../../shared/error.ts";
import type { Owner } from "../../aws/image.ts";
import type { Aws } from "../../host/aws.ts";
import type { SpecPaths } from "../../host/paths.ts";
import type { Project } from "../../lifecycle/project.ts";
import { formatTable } from "../../../shared/table.ts";
import type { VerbResult } from "../output.ts";
import { defaultSpecFile } from "../options.ts";
import { projectOptions, withProjectOptions } from "../project-options.ts";
import { runVerb, verb, type VerbContext } from "../verb.ts";

/** `kubedos ami push|list|run|deregister` */
export function amiVerb() {
  return verb("ami", {
    summary: "Amazon machine images: upload, register, run nodes, remove",
    description:
      "Region, endpoint and credentials come from where every AWS tool takes them: the options, the environment, ~/.aws.",
    examples: [
      ["ami push lab.yaml --region eu-central-1", "upload what `build --target raw,ami` made, and register it"],
      ["ami run lab.yaml --all --subnet subnet-1 --security-group sg-1", "an instance for each node"],
    ],
  })
    .addCommand(pushVerb())
    .addCommand(listVerb())
    .addCommand(runNodesVerb())
    .addCommand(deregisterVerb());
}

function pushVerb() {
  const command = verb("push", {
    summary: "upload the image by the EBS direct API and register it",
    description:
      "Only blocks that are not empty are sent, each with its checksum. An upload that was interrupted is gone on with. The same artifact is the same AMI: it is not uploaded twice.",
    examples: [["ami push lab.yaml", "one AMI in the region of your AWS configuration"]],
    exits: [1, 2, 130],
  }).argument("[spec]", "the spec", defaultSpecFile);
  return withAwsOptions(withProjectOptions(command)).action(async (specFile, flags, self) => {
    await runAws(self, specFile, flags, async ({ aws, owner, paths, stored, context, plan }) => {
      const [{ openPlan }, { pushAmi }] = await Promise.all([
        import("../../aws/plan.ts"),
        import("../../aws/image.ts"),
      ]);
      const opened = await openPlan(plan, stored, context.signal);
      const state = `${paths.state}/ami-${aws.region}.json`;
      const { ami, existed } = await pushAmi(aws, opened, owner, state, context);
      const how = existed ? "was there already" : `registered, ${opened.plan.blocks.length} blocks uploaded`;
      return { data: { ...ami, region: aws.region, existed }, text: `${ami.imageId}  ${ami.name}  (${how})` };
    });
  });
}

function listVerb() {
  const command = verb("list", {
    summary: "list the AMIs of a cluster in a region",
    examples: [["ami list lab.yaml", "what is registered"]],
    exits: [1, 2, 130],
  }).argument("[spec]", "the spec", defaultSpecFile);
  return withAwsOptions(withProjectOptions(command)).action(async (specFile, flags, self) => {
    await runAws(self, specFile, flags, async ({ aws, owner, context }) => {
      const { listAmis } = await import("../../aws/image.ts");
      const images = await listAmis(aws, owner, context);
      const rows = images.map(({ imageId, state, name, artifact }) => [imageId, state, name, artifact.slice(0, 12)]);
      const text = rows.length === 0 ? `no AMI of ${owner.cluster} in ${aws.region}` : formatTable(header, rows);
      return { data: { region: aws.region, images }, text };
    });
  });
}

const header = ["AMI", "STATE", "NAME", "ARTIFACT"];

function runNodesVerb() {
  const command = verb("run", {
    summary: "run nodes as instances, each with its seed",
    description:
      "A node's seed is the content of a second, encrypted volume, and the metadata service is off: other processes of the node can read neither. A node that has an instance is left alone.",
    examples: [
      ["ami run lab.yaml hub worker-1 --subnet subnet-1 --security-group sg-1", "two nodes"],
      ["ami run lab.yaml --all --subnet subnet-1 --security-group sg-1", "all nodes of the spec"],
    ],
    exits: [1, 2, 130],
  })
    .argument("[spec]", "the spec", defaultSpecFile)
    .argument("[nodes...]", "names of nodes")
    .option("--all", "all nodes of the spec")
    .requiredOption("--subnet <id>", "subnet whose network holds the nodes' underlay addresses")
    .requiredOption("--security-group <id...>", "security groups; the planes' UDP ports must be open among the nodes")
    .option("--instance-type <type>", "instance type with UEFI and NitroTPM", "t3.small");
  return withAwsOptions(withProjectOptions(command)).action(async (specFile, nodes, flags, self) => {
    await runAws(self, specFile, flags, async ({ aws, owner, project, stored, context, plan }) => {
      const [{ openPlan }, { listAmis }, { runNode, requireEc2Spec }, { nodeSeed }, { requireNode }] =
        await Promise.all([
          import("../../aws/plan.ts"),
          import("../../aws/image.ts"),
          import("../../aws/instances.ts"),
          import("../../lifecycle/up-project.ts"),
          import("../../lifecycle/running.ts"),
        ]);
      const { spec } = project;
      requireEc2Spec(spec);
      if (nodes.length === 0 && flags.all !== true) {
        throw new KubedosError("usage", "which nodes?", {
          hint: `name some of ${spec.nodes.map(({ name }) => name).join(", ")}, or write --all`,
        });
      }
      for (const name of nodes) requireNode(project, name);
      const { artifact } = await openPlan(plan, stored, context.signal);
      const ami = (await listAmis(aws, owner, context)).find((one) => one.artifact === artifact);
      if (ami === undefined) {
        throw new KubedosError("failed", `this build is not registered in ${aws.region}`, {
          hint: `kubedos ami push ${specFile}`,
        });
      }
      const placement = {
        instanceType: flags.instanceType,
        subnetId: flags.subnet,
        securityGroupIds: flags.securityGroup,
      };
      const instances = [];
      for (const node of spec.nodes.filter(({ name }) => flags.all === true || nodes.includes(name))) {
        context.signal.throwIfAborted();
        const seed = async () => (await nodeSeed(project, node.name)).disk;
        instances.push(await runNode(aws, owner, node, ami, seed, placement, context));
      }
      const rows = instances.map(({ node, instanceId, state, existed }) => [
        node,
        instanceId,
        existed ? `${state} (was there)` : state,
      ]);
      return {
        data: { region: aws.region, imageId: ami.imageId, instances },
        text: formatTable(["NODE", "INSTANCE", "STATE"], rows),
      };
    });
  });
}

function deregisterVerb() {
  const command = verb("deregister", {
    summary: "remove an AMI of this cluster and its snapshots",
    description: "Refuses an image that kubedos did not make for this cluster. Instances that run are not touched.",
    examples: [["ami deregister lab.yaml ami-0123456789abcdef0 --yes", "it cannot be undone"]],
    exits: [1, 2, 130],
  })
    .argument("<spec>", "the spec")
    .argument("<ami>", "image id, as `ami list` shows it")
    .option("--yes", "really remove it");
  return withAwsOptions(withProjectOptions(command)).action(async (specFile, imageId, flags, self) => {
    await runAws(self, specFile, flags, async ({ aws, owner, context }) => {
      if (flags.yes !== true) {
        throw new KubedosError("usage", `deregister removes ${imageId} and its snapshots from ${aws.region}`, {
          hint: "add --yes to do it",
        });
      }
      const { deregisterAmi } = await import("../../aws/image.ts");
      const ami = await deregisterAmi(aws, owner, imageId, context);
      const snapshots = ami.snapshotIds.join(", ") || "no snapshots";
      return { data: { ...ami, region: aws.region }, text: `removed ${imageId} and ${snapshots}` };
    });
  });
}

function withAwsOptions<C extends CommandUnknownOpts>(command: C): C {
  command.option("--region <region>", "AWS region");
  command.option("--profile <name>", "profile of ~/.aws/config");
  command.option("--endpoint-url <url>", "another endpoint than Amazon's");
  return command;
}

interface AwsWork {
  aws: Aws;
  owner: Owner;
  paths: SpecPaths;
  project: Project;
  /** NAME.ami.json of the build. */
  plan: string;
  stored(sha256: string): string;
  context: VerbContext;
}

async function runAws(
  command: CommandUnknownOpts,
  specFile: string,
  flags: object,
  body: (work: AwsWork) => Promise<VerbResult>,
): Promise<void> {
  await runVerb(command, async (context) => {
    if (context.offline) {
      throw new KubedosError("usage", "ami needs the network", { hint: "leave --offline out" });
    }
    const [{ openAws }, { openProject }] = await Promise.all([
      import("../../host/aws.ts"),
      import("../../lifecycle/project.ts"),
    ]);
    const project = await openProject(specFile, projectOptions(flags, false), context);
    const { paths, store, layer } = project;
    const aws = await openAws(command.opts());
    try {
      return await body({
        aws,
        owner: { cluster: layer.cluster, clusterId: layer.clusterId },
        paths,
        project,
        plan: `${paths.out}/${layer.cluster}.ami.json`,
        stored: (sha256) => store.path(sha256),
        context,
      });
    } finally {
      aws.close();
    }
  });
}
