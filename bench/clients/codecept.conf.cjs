// CodeceptJS with its WebDriver helper.
const { hostname, port, pathname } = new URL(process.env.REMOTE);

exports.config = {
  name: "desk",
  tests: "codecept_desk.cjs",
  output: "./output",
  helpers: {
    WebDriver: {
      url: "http://localhost",
      browser: "chrome",
      host: hostname,
      port: Number(port),
      path: pathname,
      smartWait: 2000,
      desiredCapabilities: { "goog:chromeOptions": { args: ["--headless=new", "--no-sandbox"] } },
    },
  },
};
