import type { Config } from '../config.js';
import { createHttpTokenSource, createOneTokenSource } from './authkit-http.js';
import { createSdkTokenSource } from './authkit-sdk.js';
import type { TokenSource } from './authkit-token.js';
import type { UpstreamClient } from './client.js';
import type { NoteSeen } from './last-seen.js';

/** The token source that AUTHKIT_TOKEN_SOURCE names; `note` is told what was seen of the upstream. */
export function createTokenSource(config: Config, upstream: UpstreamClient, note: NoteSeen): TokenSource {
  switch (config.tokenSource) {
    case 'sdk': return createSdkTokenSource({ baseUrl: config.baseUrl, secretKey: config.secretKey, timeoutMs: config.upstreamTimeoutMs, note });
    case 'http': return createHttpTokenSource(upstream);
    case 'one': return createOneTokenSource(upstream);
  }
}
