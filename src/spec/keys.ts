import { z } from "zod";
import type { Path } from "./finding.ts";
import { specSchema } from "./schema.ts";

/** Valid keys of the map at a path of the spec; none where no map belongs there. */
export function knownKeys(path: Path): string[] {
  let schema: z.core.$ZodType = specSchema;
  for (const part of path) {
    schema = unwrap(schema);
    if (schema instanceof z.ZodObject) schema = (schema.shape as Record<string, z.core.$ZodType>)[part] ?? z.never();
    else if (schema instanceof z.ZodArray) schema = schema.element;
  }
  schema = unwrap(schema);
  return schema instanceof z.ZodObject ? Object.keys(schema.shape) : [];
}

function unwrap(schema: z.core.$ZodType): z.core.$ZodType {
  return schema instanceof z.ZodOptional || schema instanceof z.ZodDefault || schema instanceof z.ZodPrefault
    ? unwrap(schema.unwrap())
    : schema;
}
