/** TCP port on the control plane's address of every hub where the cluster's own repository is served. */
export const repositoryPort = 7480;

/** Where the tar with the repository is on a hub: a file that a container is lent, or a link that udev makes to a disk. */
export const darksitePaths = ["/run/kubedos/darksite.tar", "/dev/kubedos/darksite"] as const;

/** Serial number of the disk that holds the tar; at most 20 characters (virtio-blk). */
export const darksiteSerial = "kubedos-darksite";

/** Certificate of the foundry's archive key, a file of the cluster layer. */
export const archiveCertificate = "archive.asc";

/** What the nodes' apt is to use. */
export interface LayerRepository {
  mode: "connected" | "darksite" | "both";
  /** Suite of the repository that the hubs serve. */
  suite: string;
  /** Debian's archives by base URL; none in the mode `darksite`. */
  archives: { uri: string; suites: string[] }[];
}
