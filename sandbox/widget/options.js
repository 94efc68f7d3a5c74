/**
 * What the host page asked for: the JSON in `?data=` (base64), or, when the address carries none, the same object from the
 * opener's first message. Resolves with undefined when neither comes within two seconds.
 */
export async function readOptions() {
  return fromAddress() ?? (await fromMessage());
}

function fromAddress() {
  const data = new URLSearchParams(location.search).get('data');
  if (!data) return undefined;
  try {
    return usable(JSON.parse(atob(data)));
  } catch {
    return undefined;
  }
}

function fromMessage() {
  return new Promise((resolve) => {
    const stop = (options) => {
      removeEventListener('message', listen);
      clearTimeout(timer);
      resolve(options);
    };
    const listen = (event) => {
      if (event.source === window.parent && usable(event.data)) stop(event.data);
    };
    const timer = setTimeout(stop, 2000);
    addEventListener('message', listen);
  });
}

function usable(value) {
  return typeof value?.linkTokenEndpoint === 'string' ? value : undefined;
}

/** Sets the theme the host asked for; anything else follows the system. */
export function applyTheme(appTheme) {
  const theme = appTheme === 'dark' || appTheme === 'light' ? appTheme : undefined;
  const system = matchMedia('(prefers-color-scheme: dark)');
  const set = () => {
    document.documentElement.dataset.theme = theme ?? (system.matches ? 'dark' : 'light');
  };
  set();
  if (!theme) system.addEventListener('change', set);
}
