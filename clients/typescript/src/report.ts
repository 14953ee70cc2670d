/** Reports an error that no caller catches, as the platform reports those of event handlers: on the console where it does not. */
export function reportUncaught(error: unknown): void {
  if (globalThis.reportError) globalThis.reportError(error);
  else console.error(error);
}
