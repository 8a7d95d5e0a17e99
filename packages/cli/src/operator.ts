import { hostname, userInfo } from "node:os";

/** Who decides, for the record: the person behind `sudo` where there is one. */
export function operator(): string {
  const { SUDO_USER = "", USER = "" } = process.env;
  let user = SUDO_USER === "" ? USER : SUDO_USER;
  try {
    if (user === "") user = userInfo().username;
  } catch {
    // A container's user may have no name.
  }
  return `${user === "" ? `uid ${process.getuid?.() ?? "unknown"}` : user}@${hostname()}`;
}
