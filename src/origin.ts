/** Whether a text is a web origin as browsers send it (RFC 6454 §6.2): scheme, host, and the port unless it is the usual one. */
export function isOrigin(text: string): boolean {
  return /^https?:\/\/[\w.:[\]-]+$/.test(text) && URL.canParse(text) && new URL(text).origin === text;
}
