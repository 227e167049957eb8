/** An ed25519 key of the foundry: RFC 8032's 32-byte seed and the 32-byte public key. */
export interface SigningKey {
  seed: Uint8Array;
  publicKey: Uint8Array;
}

/** One Secure Boot key: PKCS#8 private key and X.509 certificate, both PEM. */
export interface SecureBootKey {
  key: string;
  certificate: string;
}

/** What an unlocked vault holds. Never log it, never write it to a file that is not encrypted. */
export interface Vault {
  /** 32 bytes from which every node's and operator's keys are derived. */
  foundrySecret: Uint8Array;
  /** Signs seeds and cluster layers. */
  signing: SigningKey;
  /** Platform key, key exchange key and signature database key (UEFI specification 2.10, chapter 32). */
  secureBoot: { pk: SecureBootKey; kek: SecureBootKey; db: SecureBootKey };
}

/** How a vault is encrypted: for age recipients (`age1…`), or with a passphrase. */
export type VaultProtection = { recipients: readonly string[] } | { passphrase: string };

/** Where to look for what opens a vault; what is left out is looked for in the usual places (see unlock.ts). */
export interface UnlockOptions {
  passphraseFile?: string;
  /** age identity files. */
  identities?: readonly string[];
  signal?: AbortSignal;
}
