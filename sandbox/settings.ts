import Type, { type Static } from 'typebox';

/** What `PATCH /__control/settings` can change while the sandbox runs. */
export const Settings = Type.Object(
  {
    /** The vault's row shape: hosted Pica's or the open-source server's. */
    rowShape: Type.Union([Type.Literal('hosted'), Type.Literal('oss')]),
    /** Calls a secret may make in one window before 429. */
    rateLimit: Type.Integer({ minimum: 0 }),
    rateLimitWindowMs: Type.Integer({ minimum: 1 }),
    /** Refuse passthrough calls without an action id, as current hosted Pica documents. */
    requireActionId: Type.Boolean(),
    whiteLabel: Type.Boolean(),
    /** How a refused secret is told: the error body, or a bare `401 Unauthorized`. */
    unauthorizedBody: Type.Union([Type.Literal('json'), Type.Literal('text')]),
    /** Caps every page size, to make many pages out of few rows. */
    maxPageSize: Type.Integer({ minimum: 1 }),
    /** `echo` turns the realistic answers off. */
    provider: Type.Union([Type.Literal('realistic'), Type.Literal('echo')]),
  },
  { additionalProperties: false },
);
/** What the control route may change. */
export type Settings = Static<typeof Settings>;

/** The settings of a fresh sandbox. */
export function defaultSettings(): Settings {
  return {
    rowShape: 'hosted',
    rateLimit: 1_000_000,
    rateLimitWindowMs: 60_000,
    requireActionId: false,
    whiteLabel: false,
    unauthorizedBody: 'json',
    maxPageSize: 300,
    provider: 'realistic',
  };
}
