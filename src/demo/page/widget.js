import { useAuthKit } from '/demo/assets/authkit.js';
import { toast } from './dom.js';

/**
 * Opens the real AuthKit widget for the session's identity. Resolves when it is on the page.
 * `onRecord(record)` gets the connection record it reports; the widget stays open on its success screen.
 */
export async function openWidget(session, { onRecord, onClose }) {
  // The widget's credential is the shortest-lived of all: a new one for every opening.
  const { widgetHeaders, widgetBaseUrl } = await session.renew();
  const dark = matchMedia('(prefers-color-scheme: dark)').matches;
  const widget = useAuthKit({
    token: { url: `${location.origin}/authkit/token`, headers: widgetHeaders },
    baseUrl: widgetBaseUrl,
    appTheme: dark ? 'dark' : 'light',
    companyName: 'Demo application',
    onSuccess: onRecord,
    onError: (message) => toast(typeof message === 'string' ? message : 'The tool was not connected.', 'bad'),
    onClose: () => {
      document.documentElement.classList.remove('widget-open');
      onClose();
    },
  });
  widget.open();
  document.documentElement.classList.add('widget-open');
  const frame = document.getElementById('event-link');
  frame.title = 'Connect a tool';
  // The widget's own script shows the frame 100 ms after it has loaded; only then can it take the focus.
  frame.addEventListener('load', () => setTimeout(() => frame.focus(), 150));
}
