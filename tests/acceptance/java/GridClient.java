import java.net.URL;
import org.openqa.selenium.By;
import org.openqa.selenium.chrome.ChromeOptions;
import org.openqa.selenium.remote.RemoteWebDriver;

/** Drives a page through the hub with Selenium's own Java client, and prints what it sees. */
public class GridClient {
  public static void main(String[] arguments) throws Exception {
    RemoteWebDriver driver = new RemoteWebDriver(new URL(arguments[0]), new ChromeOptions());
    try {
      driver.get(arguments[1]);
      driver.findElement(By.id("name")).sendKeys("Grace");
      System.out.println(driver.getSessionId());
      System.out.println(driver.getTitle());
      System.out.println(driver.findElement(By.id("name")).getDomProperty("value"));
    } finally {
      driver.quit();
    }
  }
}
