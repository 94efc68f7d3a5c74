import { stableId } from '../ids.js';
import { PLATFORM_DATA, type PlatformData } from './platform-data.js';

/** A platform that can be connected. */
export interface Platform extends PlatformData {
  connectionDefinitionId: string;
}

/** Every platform of the catalogue, by display name. */
export const PLATFORMS: readonly Platform[] = PLATFORM_DATA.map((data) => ({
  ...data,
  connectionDefinitionId: stableId('conn_def', data.platform),
})).sort((a, b) => a.name.localeCompare(b.name));

/** Those that tokens list, and so the widget offers. */
export const AUTHKIT_PLATFORMS = PLATFORMS.filter(({ authkit }) => authkit);

const byId = new Map(PLATFORMS.map((platform) => [platform.platform, platform]));

/** The platform of an id; undefined for an unknown one. */
export function findPlatform(platform: string): Platform | undefined {
  return byId.get(platform);
}

/** A field of the form for platforms with an API key. */
export interface FormField {
  name: string;
  label: string;
  type: 'password' | 'text';
  placeholder: string;
}

/** What the widget page asks for: nothing with OAuth, else an API key. */
export function connectionForm({ oauth, name }: Platform): FormField[] {
  return oauth ? [] : [{ name: 'apiKey', label: 'API key', type: 'password', placeholder: `Your ${name} API key` }];
}

/** Where a platform's mark is served. */
export function markUrl(root: string, platform: Platform): string {
  return `${root}/marks/${platform.platform}.svg`;
}
