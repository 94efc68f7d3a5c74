// `@picahq/authkit` ignores messages until it has shown the frame, 100 ms after its load event.
const LISTENING_AFTER_MS = 250;
const listening = new Promise((resolve) => {
  const wait = () => setTimeout(resolve, LISTENING_AFTER_MS);
  if (document.readyState === 'complete') wait();
  else addEventListener('load', wait);
});

/** Tells the page that opened the widget what happened, in the three messages `@picahq/authkit` listens for. */
export const host = {
  success: (record) => post('LINK_SUCCESS', record),
  error: (message) => post('LINK_ERROR', message),
  exit: () => post('EXIT_EVENT_LINK', undefined),
};

async function post(messageType, message) {
  await listening;
  if (window.parent !== window) window.parent.postMessage({ messageType, message }, targetOrigin());
}

// A host with `Referrer-Policy: no-referrer` gives no origin to aim at; the receiver is still only our own parent.
function targetOrigin() {
  return document.referrer ? new URL(document.referrer).origin : '*';
}
