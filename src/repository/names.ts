/** `Origin` of every repository that kubedos makes: what apt pins by (apt_preferences(5), `release o=`). */
export const repositoryOrigin = "kubedos";

/** The one component and architecture. */
export const component = "main";
export const indexDirectory = `${component}/binary-amd64`;

/** File name of the certificate that `Signed-By` names, in the repository's root. */
export const certificateName = "archive.asc";
