import * as z from "zod";
import { lockFormat, type Lock } from "./types.ts";

const sha256 = z.string().regex(/^[0-9a-f]{64}$/, "must be 64 lower-case hexadecimal digits");
const packageName = z.string().regex(/^[a-z0-9][a-z0-9+.-]+$/, "must be a Debian package name");
const debianVersion = z.string().regex(/^[0-9][\w.+~:-]*$/, "must be a Debian version");
const word = z.string().regex(/^[\w.+-]+$/, "must be one word");
const seconds = z.int().min(0);

/** A suite or component; a flat repository's suite is a path that ends in a slash. */
const suitePath = z
  .string()
  .regex(/^[\w.+/-]+$/, "must be the name of a suite or component")
  .refine((path) => !path.split("/").includes(".."), "must not contain ..");

/** No `..`, no absolute path: paths are joined to mirrors and to directories. */
const poolPath = z
  .string()
  .regex(/^[\w.+~:%-]+(\/[\w.+~:%-]+)*\.u?deb$/, "must be a relative path that ends in .deb or .udeb")
  .refine((path) => !path.split("/").some((part) => part === ".." || part === "."), "must not contain . or ..");

const lockedPackage = z.strictObject({
  name: packageName,
  version: debianVersion,
  architecture: z.enum(["amd64", "all"]),
  sizeBytes: z.int().positive(),
  sha256,
  archive: word,
  suite: suitePath,
  path: poolPath,
  source: z.strictObject({ name: packageName, version: debianVersion }).optional(),
});

const content = { sizeBytes: z.int().positive(), sha256 };

/** Absolute and plain: it is joined to the image's root. */
const imagePath = z
  .string()
  .regex(/^(\/[\w.+~@:-]+)+$/, "must be a plain absolute path")
  .refine((path) => !path.split("/").some((part) => part === ".." || part === "."), "must not contain . or ..");

const pythonName = z.string().regex(/^[a-z0-9]+(-[a-z0-9]+)*$/, "must be a normalised Python package name");

const lockedWheel = z.strictObject({
  prefix: imagePath,
  name: pythonName,
  version: z.string().regex(/^[\w.+!]+$/, "must be a Python version"),
  filename: z
    .string()
    .regex(/^[A-Za-z0-9][\w.+!-]*\.(whl|tar\.gz|zip)$/, "must be the name of a wheel or a source archive"),
  kind: z.enum(["wheel", "sdist"]),
  ...content,
  buildOf: pythonName.optional(),
});

const lockedBlob = z.strictObject({
  name: z.string().regex(/^[A-Za-z0-9][\w.+~@:-]*$/, "must be a file name"),
  ...content,
  path: imagePath.optional(),
  mode: z.int().min(0).max(0o777).optional(),
});

const descriptor = z.strictObject({ mediaType: z.string().regex(/^[\w.+/-]+$/, "must be a media type"), ...content });

const lockedImage = z.strictObject({
  reference: z.string().regex(/^[\w.:[\]-]+(\/[\w.-]+)+[:@][\w.:-]+$/, "must be a full image reference"),
  manifest: descriptor,
  config: descriptor,
  layers: z.array(descriptor),
});

const lockedSource = z.strictObject({
  name: word,
  fingerprints: z.array(z.string().regex(/^[0-9A-F]{40,64}$/, "must be a key fingerprint")).min(1),
});

/** Shape of a lock's text; what its values mean together is checked in file.ts. */
export const lockSchema = z.strictObject({
  format: z.literal(lockFormat),
  epoch: seconds,
  architecture: z.literal("amd64"),
  suites: z
    .array(
      z.strictObject({
        archive: word,
        suite: suitePath,
        components: z.array(suitePath),
        releaseSha256: sha256,
        date: seconds,
      }),
    )
    .min(1),
  requested: z.strictObject({
    platform: z.array(packageName),
    foundry: z.array(packageName),
    machines: z.array(packageName).optional(),
    shim: z.array(packageName).optional(),
    netinst: z.array(packageName).min(1).optional(),
    installer: z.array(packageName).min(1).optional(),
    python: z
      .array(
        z.strictObject({
          prefix: imagePath,
          requirements: z.array(z.string().min(1)).min(1),
          without: z.array(pythonName).optional(),
        }),
      )
      .min(1)
      .optional(),
  }),
  platform: z.array(lockedPackage),
  foundry: z.array(lockedPackage),
  machines: z.array(lockedPackage).optional(),
  shim: z.array(lockedPackage).optional(),
  netinst: z.array(lockedPackage).min(1).optional(),
  installer: z.array(lockedPackage).min(1).optional(),
  wheels: z.array(lockedWheel).min(1).optional(),
  blobs: z.array(lockedBlob).min(1).optional(),
  images: z.array(lockedImage).min(1).optional(),
  thirdParty: z.array(lockedSource).min(1).optional(),
  securityData: z.strictObject({ ...content, date: seconds }).optional(),
}) satisfies z.ZodType<Lock>;

/** The sections that are absent where a spec asks for none. */
export const sectionsSchema = lockSchema.pick({
  wheels: true,
  blobs: true,
  images: true,
  thirdParty: true,
  securityData: true,
});
