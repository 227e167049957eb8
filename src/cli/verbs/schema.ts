import { runVerb, verb } from "../verb.ts";

/** `kubedos schema` */
export function schemaVerb() {
  return verb("schema", {
    summary: "print the JSON Schema of a spec, for editors",
    description:
      "Editors with a YAML language server check and complete a spec that begins with the line\n" +
      "`# yaml-language-server: $schema=kubedos.schema.json`.",
    examples: [["schema > kubedos.schema.json", "write the schema beside your specs"]],
    exits: [2],
  }).action(async (_options, command) => {
    await runVerb(command, async () => {
      const { specJsonSchema } = await import("../../spec/schema.ts");
      const schema = specJsonSchema();
      return { data: { schema }, text: JSON.stringify(schema, null, 2) };
    });
  });
}
