import com.amazonaws.services.dynamodbv2.local.main.ServerRunner;
import com.amazonaws.services.dynamodbv2.local.server.DynamoDBProxyServer;
import org.eclipse.jetty.server.Server;
import org.eclipse.jetty.server.ServerConnector;

/** DynamoDB Local on loopback alone (its own main listens on every interface); it ends when its standard input does. */
public final class DynamoDbOnLoopback {
    public static void main(String[] arguments) throws Exception {
        DynamoDBProxyServer dynamodb = ServerRunner.createServerFromCommandLineArgs(arguments);
        var field = DynamoDBProxyServer.class.getDeclaredField("server");
        field.setAccessible(true);
        Server jetty = (Server) field.get(dynamodb);
        ((ServerConnector) jetty.getConnectors()[0]).setHost("127.0.0.1");
        dynamodb.safeStart();
        while (System.in.read() >= 0) {
            // nothing is ever written: only its end counts, and it comes also when the parent was killed
        }
        Runtime.getRuntime().halt(0);
    }
}
