import { z } from "zod";

const labelPattern = "^[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?$";
const cidrPattern = "^\\d{1,3}(\\.\\d{1,3}){3}/\\d{1,2}$";
const addressPattern = "^\\d{1,3}(\\.\\d{1,3}){3}$";

/** An RFC 1123 label. */
export const label = (description: string) => z.string().meta({ description, pattern: labelPattern });
/** An IPv4 network. */
export const cidr = (description: string) => z.string().meta({ description, pattern: cidrPattern });
/** An IPv4 address. */
export const address = (description: string) => z.string().meta({ description, pattern: addressPattern });
/** A whole number in a range. */
export const integer = (min: number, max: number, description: string) =>
  z.int().min(min).max(max).describe(description);

/** What firmware and tools call a piece of hardware. */
export const word = (description: string) =>
  z
    .string()
    .regex(
      /^[\w./:+-]+$/,
      "has characters other than letters, digits and `_./:+-`\ncopy it as the firmware or `lsblk` shows it, without spaces",
    )
    .describe(description);

/** Limits that the schema and its documentation share. */
export const specLimits = {
  memoryMinMiB: 384,
  underlayMtuMin: 1360,
  mtuMax: 9216,
  planeMtuMin: 1280,
  nodesMax: 65_535,
  indexMax: 16_777_213,
} as const;
