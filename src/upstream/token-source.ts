import type { Config } from '../config.js';
import { createHttpTokenSource, createOneTokenSource } from './authkit-http.js';
import { createSdkTokenSource } from './authkit-sdk.js';
import type { TokenSource } from './authkit-token.js';
import type { UpstreamClient } from './client.js';

/** The token source that AUTHKIT_TOKEN_SOURCE names. */
export function createTokenSource(config: Config, upstream: UpstreamClient): TokenSource {
  switch (config.tokenSource) {
    case 'sdk': return createSdkTokenSource({ baseUrl: config.baseUrl, secretKey: config.secretKey, timeoutMs: config.upstreamTimeoutMs });
    case 'http': return createHttpTokenSource(upstream);
    case 'one': return createOneTokenSource(upstream);
  }
}
