/** The proxy variables of the environment, as apt, curl and most others read them. */
export function proxyEnvironment(): Record<string, string> {
  const found: Record<string, string> = {};
  for (const name of ["http_proxy", "https_proxy", "no_proxy"]) {
    // HTTP_PROXY in capitals is ignored by convention (a CGI request header could set it); the others are not.
    const value = process.env[name] ?? (name === "http_proxy" ? undefined : process.env[name.toUpperCase()]);
    if (value !== undefined && value !== "") found[name] = value;
  }
  return found;
}
