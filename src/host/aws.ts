import { setMaxListeners } from "node:events";
import type * as EbsApi from "@aws-sdk/client-ebs";
import type * as Ec2Api from "@aws-sdk/client-ec2";
import { KubedosError } from "../../shared/error.ts";

/** Where and as whom. What is left out comes from where every AWS tool takes it: environment, ~/.aws, instance role. */
export interface AwsOptions {
  region?: string;
  profile?: string;
  /** Another endpoint than Amazon's, for both services. */
  endpointUrl?: string;
}

/** The clients of one region, with the SDK modules they come from (loaded only here: they are large). */
export interface Aws {
  region: string;
  ebs: { client: EbsApi.EBSClient; api: typeof EbsApi };
  ec2: { client: Ec2Api.EC2Client; api: typeof Ec2Api };
  close(): void;
}

/** Tries of one request: the SDK waits longer after each, and slows all requests down while it is throttled. */
const maxAttempts = 10;

/** @throws KubedosError when no region is known */
export async function openAws(options: AwsOptions): Promise<Aws> {
  // The SDK tells every user of a Node that is near its end of support; which Node runs is not the user's choice here.
  process.env["AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED"] ??= "true";
  const [ebs, ec2] = await Promise.all([import("@aws-sdk/client-ebs"), import("@aws-sdk/client-ec2")]);
  const settings = {
    maxAttempts,
    retryMode: "adaptive",
    ...(options.region === undefined ? {} : { region: options.region }),
    ...(options.profile === undefined ? {} : { profile: options.profile }),
    ...(options.endpointUrl === undefined ? {} : { endpoint: options.endpointUrl }),
  };
  const clients = { ebs: new ebs.EBSClient(settings), ec2: new ec2.EC2Client(settings) };
  const region = await clients.ec2.config.region().catch((cause: unknown) => {
    throw new KubedosError("usage", "no AWS region is known", {
      hint: "give --region, set AWS_REGION, or write `region` into ~/.aws/config",
      cause,
    });
  });
  return {
    region,
    ebs: { client: clients.ebs, api: ebs },
    ec2: { client: clients.ec2, api: ec2 },
    close() {
      clients.ebs.destroy();
      clients.ec2.destroy();
    },
  };
}

/** Lets many requests at once listen to one signal. */
export function shareSignal(signal: AbortSignal): void {
  setMaxListeners(0, signal);
}

/** An error of AWS in our words: what was asked, its code and message, and what to do about the usual ones. */
export function awsError(what: string, cause: unknown): KubedosError {
  if (cause instanceof KubedosError) return cause;
  const error = cause as { name?: string; message?: string; $metadata?: { requestId?: string } };
  const request = error.$metadata?.requestId === undefined ? "" : ` (request ${error.$metadata.requestId})`;
  return new KubedosError("failed", `AWS: ${what}: ${error.name ?? "error"}: ${error.message ?? ""}${request}`, {
    cause,
    hint: hints[error.name ?? ""] ?? "run the command again: it goes on where it stopped",
  });
}

const hints: Record<string, string> = {
  CredentialsProviderError: "set AWS_PROFILE or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run `aws configure`",
  ExpiredTokenException: "the session has ended: log in again",
  AccessDeniedException:
    "the account needs ebs:StartSnapshot, ebs:PutSnapshotBlock, ebs:CompleteSnapshot and the ec2 actions of docs/aws.md",
  UnauthorizedOperation: "the account lacks a permission: docs/aws.md lists them",
};
