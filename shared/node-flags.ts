/**
 * Flags of Node for the platform's own programs on a node: no memory is writable and executable. Without the second
 * flag V8 warns on standard error that it sets it itself.
 */
export const nodeFlags = ["--jitless", "--no-expose-wasm"] as const;
