import { ApiError } from './errors.js';

/** Tests a raw URL against `path`: a RegExp when it starts with `^`, else a prefix. Throws BadRequest on a broken RegExp. */
export function urlMatcher(path: string): (url: string) => boolean {
  if (!path.startsWith('^')) return (url) => url.startsWith(path);
  try {
    const pattern = new RegExp(path);
    return (url) => pattern.test(url);
  } catch {
    throw new ApiError('BadRequest', `path is not a valid regular expression: ${path}`);
  }
}
